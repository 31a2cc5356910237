"""
What the engine for contents asks of a family: an `Encoder`, without tensors, and a `Network`.

Another family is a pair of these, joined in `families`; the engine does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from milvane.domain.contents import ContentTokens, SeenPart, Wishes
from milvane.domain.models import Modality, Purpose
from milvane.domain.pictures import Seen, Viewing
from milvane.inference.passes import Work

Load = Any
"""One input of a network; only the encoder and the network of a family know what it is."""


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A content but for its pixels; satisfies `TokenizedContent`."""

    tokens: ContentTokens
    key: bytes
    """Equal for two contents only if their vectors are equal."""
    plan: Any
    """What the encoder that made it needs to go on."""


class Encoder(Protocol):
    """How a family sees; blocks, may be called from any thread, and knows no tensors."""

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it takes."""

    @property
    def template(self) -> str:
        """Everything that decides on a vector beside the files, for a fingerprint."""

    @property
    def window_tokens(self) -> int:
        """Tokens of text that one input of the network holds."""

    def view(self, wishes: Wishes) -> Viewing:
        """Say how it wants to see images and videos."""

    def takes_instruction(self, purpose: Purpose) -> bool:
        """Say whether an instruction changes the vectors of contents of this purpose."""

    def tokenize(self, contents: Sequence[Sequence[SeenPart]], wishes: Wishes) -> list[Tokenized]:
        """Prepare contents, each of at least one part; never cuts."""

    def pack(self, content: Tokenized, seen: Sequence[Seen]) -> list[Work[Load]]:
        """
        Make the inputs of the network that a content takes, at least one.

        Args:
            content: As `tokenize` made it.

            seen: The pixels of its images and videos, in the order of its parts.

        Raises:
            Internal: If they have another size than was asked for.
        """

    def combine(
        self, content: Tokenized, rows: Sequence[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """
        Make one vector of what the network gave for each of the content's inputs.

        Returns:
            Shape ``(width,)``, of length 1.
        """


class Network(Protocol):
    """The network of a family, loaded on one device."""

    @property
    def name(self) -> str:
        """What runs it, with its version, for people."""

    @property
    def precision(self) -> str:
        """Number format."""

    @property
    def threads(self) -> int:
        """Cores that compute."""

    @property
    def is_accelerated(self) -> bool:
        """Whether it runs on something that wants larger passes than a CPU."""

    @property
    def concurrency(self) -> int:
        """Forward passes that may run at once."""

    @property
    def width(self) -> int:
        """Components of a vector."""

    def forward(self, loads: list[Load]) -> NDArray[np.float32]:
        """
        Run the network over one pass. Blocks; may be called from any thread.

        Returns:
            A row for each load, not normalized. A row does not depend on the others.

        Raises:
            MemoryError: If the device has too little memory for so many.

            Internal: If the network cannot be run over this.
        """

    def close(self) -> None:
        """Free the network; no pass may be running, and none may follow."""
