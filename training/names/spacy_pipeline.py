"""The alternative that was measured: spaCy's convolutional tagger (HashEmbedCNN and transition-based NER), from scratch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from training.names.data import Sentence, Span

EPOCHS = 6
WIDTH, DEPTH, ROWS = 96, 4, 5000  # about 7 MB; spaCy's small English pipelines have width 96 and depth 4


def train(parts: Sequence[Sequence[Sentence]], epochs: int = EPOCHS) -> Any:
    """Return a pipeline trained on one part per epoch, in turn."""
    import spacy
    from spacy.training import Example
    from spacy.util import minibatch

    random.seed(0)
    nlp = spacy.blank("en")
    config = {
        "model": {
            "@architectures": "spacy.TransitionBasedParser.v2",
            "state_type": "ner",
            "extra_state_tokens": False,
            "hidden_width": 64,
            "maxout_pieces": 2,
            "use_upper": True,
            "tok2vec": {
                "@architectures": "spacy.HashEmbedCNN.v2",
                "pretrained_vectors": None,
                "width": WIDTH,
                "depth": DEPTH,
                "embed_size": ROWS,
                "window_size": 1,
                "maxout_pieces": 3,
                "subword_features": True,
            },
        }
    }
    nlp.add_pipe("ner", config=config)
    examples = [[_example(nlp, item, Example) for item in part] for part in parts]
    optimizer = nlp.initialize(lambda: examples[0])
    for epoch in range(epochs):
        part = list(examples[epoch % len(examples)])
        random.shuffle(part)
        for batch in minibatch(part, 64):
            nlp.update(batch, sgd=optimizer, drop=0.2)
    return nlp


def predict(nlp: Any, texts: Sequence[str]) -> list[list[Span]]:
    """Return the spans that the pipeline finds in each text."""
    return [[(span.start_char, span.end_char, span.label_) for span in doc.ents] for doc in nlp.pipe(texts)]


def _example(nlp: Any, item: Sentence, make: Any) -> Any:
    doc = nlp.make_doc(item.text)
    spans = [doc.char_span(start, end, label, alignment_mode="expand") for start, end, label in item.spans]
    entities = [(span.start_char, span.end_char, span.label_) for span in spans if span is not None]
    kept: list[Span] = []
    for span in entities:
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return make.from_dict(doc, {"entities": kept})
