"""The weights that a server starts with, fetched where they are missing."""

from __future__ import annotations

from milvane.domain.catalogue import WEIGHTS, WeightsName, deploy
from milvane.inference.weights import is_present
from milvane.settings import Settings, weights_dir


def pull_default_weights(settings: Settings) -> None:
    """Fetch every set of weights that serves a model, unless it is here."""
    folder = weights_dir(settings)
    for deployed in dict.fromkeys(deploy(settings.deployments).values()):
        name = WeightsName(settings.inference.weights_of(deployed))
        # Gigabytes from a hub are fetched when somebody asks for them, not at a start.
        if name in WEIGHTS and not is_present(WEIGHTS[name], folder):
            from milvane.cli.models import pull_with_progress  # hubs and progress bars: seldom

            pull_with_progress(name, settings)
