"""A teacher's answers: given once for (image, view), kept on disk, looked up after."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from compress.context.cache import Hold, hold, making, places
from compress.context.console import counted
from compress.context.context import RunContext
from compress.data.augment import Augment
from compress.data.batches import batches
from compress.data.data import Batch, Images
from compress.models.checkpoint import weights_digest
from compress.models.model import Model
from runtime.errors import InputRejectedError
from runtime.files import digest_of, read_json, sha256_of, write_json, written_whole

Answers = Callable[[Batch], Tensor]

BATCH_SIZE = 128  # of the teacher's forward pass; does not change its answers' meaning
FLOAT16_MAX = 65504.0  # IEEE 754 binary16; logits need three digits, no more


@dataclass(frozen=True, kw_only=True)
class TeacherAnswers:
    """Everything a teacher's answers depend on; its digest is their name."""

    teacher: Model
    images: Images
    augment: Augment | None
    context: RunContext

    def online(self) -> Answers:
        """Ask the teacher anew for every batch; right for mixed images."""
        return _Teacher(self.teacher, self.context.device)

    def kept(self, views: int) -> Answers:
        """Look answers up, after asking for the `views` that are not on disk yet."""
        key = digest_of(
            weights_digest(self.teacher),
            self.teacher.preprocess.as_record(),
            self.images.digest,
            self.images.size,
            self.augment.as_record() if self.augment else None,
            self.context.seed,
        )
        for folder in places(self.context.cache / "answers" / key[:32]):
            held = hold(folder)
            missing = [
                view
                for view in range(views)
                if held is None or not self.valid(folder, view)
            ]
            if not missing:
                self.context.console.tell(
                    f"teacher's answers: reused, {counted(views, 'view')} ({folder})"
                )
                return self.found(folder, views, held)
        with making(folder) as held:
            self.ask(folder, missing)
            return self.found(folder, views, held)

    @property
    def shape(self) -> tuple[int, int]:
        """Images and classes."""
        return len(self.images), len(self.teacher.classes)

    def file(self, folder: Path, view: int) -> Path:
        """Where the answers to one view are."""
        return folder / f"view-{view:03d}.f16"

    def valid(self, folder: Path, view: int) -> bool:
        """Whether one view is there, whole and unchanged."""
        path = self.file(folder, view)
        record = path.with_suffix(".json")
        if not path.is_file() or not record.is_file():
            return False
        try:
            sound = read_json(record).get("sha256") == sha256_of(path)
        except (InputRejectedError, OSError):  # damaged, or for its owner only
            sound = False
        if not sound:
            self.context.console.tell(
                f"teacher's answers: {path} is damaged; asked again"
            )
        return sound

    def ask(self, folder: Path, views: list[int]) -> None:
        """Run the teacher over every image of each of `views` and keep what it says."""
        teacher = _Teacher(self.teacher, self.context.device)
        rows = len(self.images)
        with self.context.console.progress(
            "ask the teacher", rows * len(views)
        ) as advance:
            for view in views:
                path = self.file(folder, view)
                with written_whole(path) as draft, draft.open("wb") as stream:
                    for batch in self.batches(view):
                        stream.write(self.checked(teacher(batch)).tobytes())
                        advance(len(batch.index), f"view {view + 1}")
                write_json(path.with_suffix(".json"), {"sha256": sha256_of(path)})

    def checked(self, logits: Tensor) -> npt.NDArray[np.float16]:
        """Answers as they are kept; a teacher that gives no numbers is refused."""
        if not bool(logits.isfinite().all()):
            raise InputRejectedError(
                f"teacher {self.teacher.spec.name}: answers with NaN or infinity; "
                "train it again at a lower learning_rate"
            )
        kept = logits.cpu().clamp(-FLOAT16_MAX, FLOAT16_MAX).numpy()
        return kept.astype(np.float16)

    def batches(self, view: int) -> Iterator[Batch]:
        """Every image, in order, as `view` shows it."""
        return batches(
            self.images,
            batch_size=BATCH_SIZE,
            seed=self.context.seed,
            epoch=0,
            view=view,
            augment=self.augment,
            shuffle=False,
            drop_last=False,
            workers=self.context.workers,
        )

    def found(self, folder: Path, views: int, held: Hold | None) -> Answers:
        """What is kept in `folder`, which stays there as long as it is in use."""
        return _Kept([self.opened(folder, view) for view in range(views)], held)

    def opened(self, folder: Path, view: int) -> npt.NDArray[np.float16]:
        """One view's answers, memory-mapped."""
        return np.memmap(self.file(folder, view), np.float16, "r", shape=self.shape)


class _Teacher:
    """A network that only answers: eval, no gradient, never changed."""

    def __init__(self, model: Model, device: str) -> None:
        self.model, self.device = model, torch.device(device)
        self.net = copy.deepcopy(model.net).eval()
        self.net.to(self.device, memory_format=model.memory_format)  # type: ignore[call-overload]

    def __call__(self, batch: Batch) -> Tensor:
        """Logits, float32 [n, classes]."""
        with torch.inference_mode():
            images = self.model.prepare(batch.pixels.to(self.device))
            logits: Tensor = self.net(images)
        # A clone made outside is an ordinary tensor, which a loss may use.
        return logits.float().clone()


class _Kept:
    """Answers by view and row."""

    def __init__(self, views: list[npt.NDArray[np.float16]], held: Hold | None) -> None:
        self.views, self.held = views, held

    def __call__(self, batch: Batch) -> Tensor:
        """Logits, float32 [n, classes], on the device of the batch."""
        rows = self.views[batch.view][batch.index.cpu().numpy()]
        return torch.from_numpy(rows.astype(np.float32)).to(batch.index.device)
