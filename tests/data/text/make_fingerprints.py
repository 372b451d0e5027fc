"""Makes fingerprints.json with TensorFlow (2.21): hash buckets of a string of each length from 0 to 299."""
import json
import os

import tensorflow as tf

strings = [bytes((i * 7 + n) % 251 for i in range(n)) for n in range(300)]
buckets = tf.strings.to_hash_bucket_fast(strings, 2**63 - 1).numpy().tolist()
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "fingerprints.json"), "w") as file:
    json.dump(buckets, file)
