"""Makes the files beside it with the tokenizers library (0.23.3): python3 make.py. The text is generated, so nothing is borrowed."""
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
END = "<|endoftext|>"
random.seed(7)

WORDS = """the mill grinds the grain and the miller's wheel turns; it's slow, they'll wait, we've time: don't hurry! I'm sure you'd say
Über Straße naïve café 東京 水車 小麦粉 мельница зерно хлеб μύλος طاحونة चक्की 방앗간 42 1984 3.14 007 ½ Ⅷ ٣٤ a_b x=y (z) [k] "q" … — «r» 🌾🍞 👩‍🌾 e\u0301 fi""".split()
SPACES = [" "] * 20 + ["\n", "\n\n", "  ", "   ", "\t", " \n", "\u00a0", "\u3000", "\r\n", ""]

def sample(n):
    return "".join(random.choice(WORDS) + random.choice(SPACES) for _ in range(n))

def write(name, value):
    with open(os.path.join(HERE, name), "w", encoding="utf-8", newline="") as file:
        file.write(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":")))

text = sample(1500)
t = Tokenizer(models.BPE())
t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
t.decoder = decoders.ByteLevel()
t.train_from_iterator([text], trainers.BpeTrainer(vocab_size=480, min_frequency=2, show_progress=False,
                                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
write("learn.txt", text)
write("learned.json", t.to_str())  # what training on learn.txt gives
t.model.save(os.path.join(HERE, "pair"))

t.add_special_tokens([AddedToken(END, normalized=False), AddedToken("<|end|>", normalized=False), AddedToken("<|", normalized=False)])
write("added.json", t.to_str())
texts = ["", " ", "\n", "a", "'s", "'", "''s", "it's 'tis we'll've", "  two  spaces ", " \n a\n\nb \t c", "x" * 70, "!" * 9, " 12345 1a2b",
         "東京 水車小麦粉", "🌾🍞👩‍🌾", "e\u0301", "\u0085\u2028z", END, f"one{END}two {END} three{END}", "<|end|", "<|end|><|", "a <|b",
         f"  {END}", f"'{END}s"] + [sample(30) for _ in range(20)]
cases = texts
write("encoded.json", [{"text": x, "ids": t.encode(x).ids} for x in texts])

# the later pattern, with three digits and with one
LATER = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
cases += ["IT'S I'LL don'T 'ſa 'S", "1234567 12 ½٣٤", "!abc ,def (x)", " \n\n  x\r\n \t\n y", "!!\n\n?\r\nz", "  \n", " \n ", "\n a", "\u00a0b \u3000c",
          "''s 'll've", " !\n", "a!\n" + END + "\n"]
for name, digits, ignore in (("later3", "{1,3}", True), ("later1", "", False)):
    t = Tokenizer(models.BPE(ignore_merges=ignore))
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LATER % digits), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([text], trainers.BpeTrainer(vocab_size=480, min_frequency=2, show_progress=False,
                                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_special_tokens([AddedToken(END, normalized=False)])
    write(f"{name}.json", t.to_str())
    write(f"{name}_encoded.json", [{"text": x, "ids": t.encode(x).ids} for x in cases])
