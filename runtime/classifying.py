"""Images classified by model files: labels with scores, by numpy and an interpreter."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from runtime.artifact import FORMATS, Artifact
from runtime.batch import Batch, check_scores
from runtime.contained import try_out
from runtime.errors import Exit, InputRejectedError, RecipeError
from runtime.images import fed_image
from runtime.printable import printable
from runtime.session import open_session

BEST: Final = 5
_LABEL: Final = 44  # columns


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One class: its number, its label, its score, and the share of it (softmax)."""

    index: int
    label: str
    score: float
    share: float


@dataclass(frozen=True, kw_only=True)
class Classified:
    """What a file says of an image, the best class first."""

    file: str
    image: str
    guesses: tuple[Guess, ...]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answer of `--classify`."""

    answers: tuple[Classified, ...]
    exit_code: int = Exit.FIT

    def as_json(self) -> str:
        """{answers[{file, image, classes[{index, label, score, share}]}]}."""
        record = {
            "answers": [
                {
                    "file": each.file,
                    "image": each.image,
                    "classes": [vars(guess) for guess in each.guesses],
                }
                for each in self.answers
            ]
        }
        return json.dumps(record, indent=2, sort_keys=True)

    def as_text(self) -> str:
        """A paragraph an image: shares in per cent."""
        lines = []
        for each in self.answers:
            lines.append(printable(f"{each.image} ({each.file})"))
            lines += [
                f"  {guess.share * 100:6.2f} %  {printable(guess.label):.{_LABEL}}"
                for guess in each.guesses
            ]
        return "\n".join(lines)


def split(names: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """Model files and images among `names`, told apart by their suffix."""
    paths = [Path(name) for name in names]
    files = [path for path in paths if path.suffix.lower() in FORMATS]
    images = [path for path in paths if path not in files]
    if not files or not images:
        missing = "model file (.onnx or .tflite)" if not files else "image"
        raise RecipeError(
            f"--classify: no {missing} among {len(names)} files; give images and a "
            "model file, such as: --classify cat.jpg model.onnx"
        )
    return files, images


def classify(
    files: Sequence[Path],
    images: Sequence[Path],
    *,
    threads: int = 1,
    runtime: str | None = None,
) -> Answers:
    """Let each model file name the best classes of each image.

    A file that does not say how its images are prepared is an InputRejectedError;
    otherwise what `Artifact.read`, `fed_image` and `open_session` raise.
    """
    found = []
    for artifact in [Artifact.read(path) for path in files]:
        preprocess = artifact.preprocess
        if preprocess is None:
            raise InputRejectedError(
                f"{artifact.path}: does not say how its images are prepared; keep the "
                ".json sidecar that edgepress wrote beside it"
            )
        fed = [fed_image(image, preprocess) for image in images]
        try_out(artifact)
        session = open_session(artifact, threads=threads, runtime=runtime)
        with closing(session):
            for image, pixels in zip(images, fed, strict=True):
                scores = session.run(preprocess(pixels[None]))
                check_scores(scores, images=1, path=artifact.path)
                guesses = _guesses(artifact, scores[0])
                found.append(
                    Classified(
                        file=artifact.path.name, image=image.name, guesses=guesses
                    )
                )
    return Answers(answers=tuple(found))


def _guesses(artifact: Artifact, scores: Batch) -> tuple[Guess, ...]:
    """The best classes of one row of scores; of equal ones the first is better."""
    if not np.isfinite(scores).all():
        raise InputRejectedError(
            f"{artifact.path}: answers with NaN or infinity, which ranks nothing; "
            "export it again, from a network that gives numbers"
        )
    labels = artifact.classes if len(artifact.classes) == len(scores) else ()
    shares = _shares(scores.astype(np.float64))
    best = np.argsort(-scores, kind="stable")[:BEST]
    return tuple(
        Guess(
            index=int(at),
            label=labels[at] if labels else f"class {at}",
            score=float(scores[at]),
            share=float(shares[at]),
        )
        for at in best
    )


def _shares(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Softmax, unless the scores are shares already, as some files give them."""
    if (scores >= 0).all() and abs(scores.sum() - 1) < 0.01:  # noqa: PLR2004  # INT8 rounds
        return scores
    raised: npt.NDArray[np.float64] = np.exp(scores - scores.max())
    raised /= raised.sum()
    return raised
