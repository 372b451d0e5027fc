"""The files beside this one: models that Keras 2 (tf_keras 2.21) compiled and saved as .h5, and expected.txt, what it computes from each after it
has opened the file again: the logs of evaluate (12 records in one batch; the weights `w` where there is one output), and its weights after two
steps of training (batches of 6). Keras 2 forgets Nadam's product in the file, and counts its steps
only eagerly: that model goes on in memory, eagerly.
Run here: python make.py"""
import json
import os

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0", CUDA_VISIBLE_DEVICES="-1")
import numpy as np
import tf_keras as keras

L, M, O = keras.losses, keras.metrics, keras.optimizers
S = O.schedules


def one(activation, units):
    return keras.Sequential([keras.layers.InputLayer((4,), name="x"), keras.layers.Dense(5, activation="tanh", name="hidden"),
                             keras.layers.Dense(units, activation=activation, name="out")])


def two():
    a = keras.Input((4,), name="x")
    h = keras.layers.Dense(5, activation="tanh", name="hidden")(a)
    return keras.Model(a, [keras.layers.Dense(1, name="price")(h), keras.layers.Dense(3, activation="softmax", name="kind")(h)])


# model, targets, what it is compiled with; "unseen": saved before it saw a target
CASES = {
    "acc_binary": (lambda: one("sigmoid", 1), "binary", lambda: dict(
        loss="binary_crossentropy", metrics=["acc", "ce"], weighted_metrics=["acc", "mse", M.AUC(num_thresholds=20, name="auc")])),
    "acc_sparse": (lambda: one("softmax", 3), "sparse", lambda: dict(loss="sparse_categorical_crossentropy", metrics=["acc", "crossentropy"])),
    "acc_unseen": (lambda: one("softmax", 3), "sparse unseen", lambda: dict(loss="sparse_categorical_crossentropy", metrics=["acc"])),
    "objects": (lambda: one("softmax", 3), "classes", lambda: dict(
        loss=L.CategoricalCrossentropy(label_smoothing=0.1, name="smooth"),
        metrics=[M.CategoricalAccuracy(name="a"), M.TopKCategoricalAccuracy(k=2), M.Precision(class_id=1), L.categorical_hinge])),
    "logits": (lambda: one(None, 3), "sparse", lambda: dict(
        loss=L.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0),
        metrics=[M.SparseCategoricalCrossentropy(from_logits=True, name="nats"), M.SparseTopKCategoricalAccuracy(k=2)])),
    "names": (lambda: one(None, 2), "numbers", lambda: dict(loss="huber_loss", metrics=["mse", "MAE", "logcosh", "cosine_proximity"])),
    "by_name": (two, "both", lambda: dict(
        loss={"price": L.Huber(0.5), "kind": "categorical_crossentropy"}, metrics={"kind": ["acc", M.AUC(num_thresholds=20, name="auc")]},
        weighted_metrics={"price": "mae"}, loss_weights={"price": 0.3, "kind": 2.0})),
    "by_place": (two, "both", lambda: dict(loss=["mse", L.CategoricalCrossentropy()], metrics=[["mae"], ["accuracy"]], loss_weights=[0.3, 2.0])),
    "for_all": (two, "both", lambda: dict(loss="mse", metrics=["acc", "mae"])),
    "one_loss": (two, "both", lambda: dict(loss={"kind": "categorical_crossentropy"}, metrics={"price": "mse", "kind": "acc"})),
}
for name, optimizer in {"by_steps": lambda: O.SGD(S.PiecewiseConstantDecay([1, 3], [0.1, 0.05, 0.01])),
                        "cosine": lambda: O.Adam(S.CosineDecay(0.0, 10, warmup_target=0.1, warmup_steps=3)),
                        "averaged": lambda: O.SGD(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
                        "adafactor": lambda: O.Adafactor(0.01), "nadam": lambda: O.Nadam(0.01),
                        "old_schedule": lambda: O.legacy.RMSprop(S.ExponentialDecay(0.01, 2, 0.5), momentum=0.3)}.items():
    CASES[name] = (lambda: one(None, 2), "numbers", lambda optimizer=optimizer: dict(loss="mean_squared_error", optimizer=optimizer()))


def main():
    r = np.random.default_rng(1)
    x, classes = r.standard_normal((12, 4)).astype("f4"), r.integers(0, 3, 12)
    one_hot, price, w = np.eye(3, dtype="f4")[classes], r.random((12, 1)).astype("f4"), r.random(12).astype("f4")
    targets = {"binary": [r.integers(0, 2, (12, 1)).astype("f4")], "sparse": [classes.astype("i4").reshape(12, 1)], "classes": [one_hot],
               "numbers": [r.random((12, 2)).astype("f4")], "both": [price, one_hot]}
    out = {"x": x.tolist(), "w": w.tolist(), "y": {k: [a.tolist() for a in v] for k, v in targets.items()}, "cases": {}}
    for name, (model, kind, compiled) in CASES.items():
        keras.backend.clear_session()
        keras.utils.set_random_seed(5)
        y = targets[kind.split()[0]]
        y, weights = (y, None) if len(y) > 1 else (y[0], w)
        m = model()
        m.compile(**dict(dict(optimizer=O.SGD(0.1, momentum=0.5), run_eagerly=name == "nadam"), **compiled()))
        if "unseen" not in kind:
            m.fit(x, y, sample_weight=weights, batch_size=6, verbose=0, shuffle=False)
        m.save(name + ".h5")
        if name != "nadam":
            keras.backend.clear_session()
            m = keras.models.load_model(name + ".h5")
        logs = m.evaluate(x, y, sample_weight=weights, batch_size=12, verbose=0, return_dict=True)
        m.fit(x, y, sample_weight=weights, batch_size=6, verbose=0, shuffle=False)
        out["cases"][name] = {"y": kind.split()[0], "logs": {k: float(v) for k, v in logs.items()},
                              "after": [a.ravel().tolist() for a in m.get_weights()]}
    with open("expected.txt", "w") as f:
        json.dump(out, f, indent=None)
        f.write("\n")


if __name__ == "__main__":
    main()
