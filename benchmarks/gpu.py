"""The embedding figures of a GPU in one go: texts and tokens per second by number format and token budget.

    python benchmarks/gpu.py [FOLDER] [--texts 20000]

Every line is a warm run over the same texts, with the share of the GPU's measured matrix-multiply peak. Without a folder
the texts are made of the model's own vocabulary. Without a GPU it says so, and measures the CPU with few texts.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from embedding import sample, words_of

from headwater.embedding import Embedder, load_tokenizer
from headwater.embedding.devices import matmul_peak
from headwater.embedding.tokenizing import text_tokenizer

GPU_BUDGETS = (8_192, 32_768, 131_072, 524_288)
CPU_BUDGETS = (512, 1_024, 4_096)
CPU_TEXTS = 40


def vocabulary_words() -> list[str]:
    chance = random.Random(7)
    words = sorted(word for word in load_tokenizer(None).get_vocab() if word.isalpha())
    return [chance.choice(words) for _ in range(50_000)]


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--model", help="a sentence-transformers model, default: the bundled one")
    arguments = parser.parse_args()
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        print(f"{len(names)} GPU(s): {', '.join(names)}; torch {torch.__version__}")
    else:
        print(f"No GPU here: these are figures of the CPU, with {CPU_TEXTS} texts.")
    words = words_of(arguments.folder) if arguments.folder else vocabulary_words()
    texts = sample(words, arguments.texts if has_gpu else CPU_TEXTS)
    tokenizer = text_tokenizer(load_tokenizer(arguments.model))
    formats = ["bfloat16", "float16", "float32"] if has_gpu else ["bfloat16", "float32"]
    reference = None
    for name in reversed(formats):
        embedder = Embedder(arguments.model, number_format=name)
        ids = [tokenizer.model_ids(text, embedder.max_tokens) for text in texts]
        peak = matmul_peak(embedder.device, name) * len(embedder.devices)
        for budget in GPU_BUDGETS if has_gpu else CPU_BUDGETS:
            embedder.tokens_per_batch = budget
            embedder.try_documents(texts[: len(texts) // 4], ids[: len(texts) // 4])
            result = embedder.try_documents(texts, ids)
            work = result.work
            reference = result.values if reference is None else reference
            print(
                f"{name:9} budget {budget:7}  {work.rows / work.seconds:9.1f} texts/s  "
                f"{work.tokens / work.seconds:11.0f} tokens/s  {work.flops / work.seconds / peak:6.1%} of "
                f"{peak / 1e12:.1f} TFLOP/s  lowest cosine to fp32 {(result.values * reference).sum(axis=1).min():.5f}"
                + ("" if embedder.tokens_per_batch == budget else f"  (memory ran out: {embedder.tokens_per_batch})"),
                flush=True,
            )


if __name__ == "__main__":
    main()
