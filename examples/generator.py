# The same data from Python: each np.save is an array, x then y, batch after batch. The images are as large as they want to be.
# np.save writes into a pipe only without a buffer (with sys.stdout.buffer: "obtaining file position failed").
import gzip, sys
import numpy as np

folder, batch = sys.argv[1], 64
out = open(1, "wb", buffering=0)
with gzip.open(f"{folder}/train-images-idx3-ubyte.gz") as images, gzip.open(f"{folder}/train-labels-idx1-ubyte.gz") as labels:
    images.read(16), labels.read(8)
    while pixels := images.read(784 * batch):
        x = np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28, 1)
        y = np.frombuffer(labels.read(len(x)), np.uint8)
        np.save(out, x)
        np.save(out, y)
