"""Starting a run from an earlier model of the cohort, when cases were added or corrected."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

import torch

from sslseg.bundle.model_folder import TrainedModel, load_model
from sslseg.contract.cohort import Cohort
from sslseg.contract.errors import SSLSegError
from sslseg.contract.labels import Label, normalised_name
from sslseg.contract.models import case_digest
from sslseg.contract.settings import TrainSettings
from sslseg.data.fingerprint import Fingerprint
from sslseg.data.plan import Plan
from sslseg.methods.base import Method
from sslseg.networks.base import SegmentationNetwork
from sslseg.train.presets import Recipe


@dataclass(frozen=True)
class Beginning:
    """The model a run starts from, and what it knows of the cohort's cases.

    Attributes:
        model: the earlier model.
        learned: ids of the cases whose labels are in its weights; measuring on them would flatter.
        measured: ids of the cases that it was measured on.
    """

    model: TrainedModel
    learned: Collection[str]
    measured: Collection[str]

    @classmethod
    def of(cls, cohort: Cohort, name: str) -> Beginning:
        """Read the model and check that it is one for the cohort.

        Raises:
            SSLSegError: there is no such model, or it is for other images or other organs.
        """
        model = load_model(cohort.model_folder(name))
        if model.plan.modality != cohort.modality:
            raise SSLSegError(
                f"The model '{name}' is for {model.plan.modality}, and the cohort holds {cohort.modality}",
                remedy="Train without a model to start from.",
            )
        if _outputs(model.plan.labels) != _outputs(cohort.labels):
            raise SSLSegError(
                f"The model '{name}' cannot be started from, because it segments {_listed(model.plan.labels)}, "
                f"and the cohort asks for {_listed(cohort.labels)}",
                remedy="Train without a model to start from.",
            )
        record = model.record
        measured = {entry.case for entry in record.annotations if entry.use == "validation"}
        ids = {case_digest(case.id): case.id for case in cohort.cases}
        return cls(
            model,
            learned={ids[digest] for digest in record.learned_from & set(ids)},
            measured={ids[digest] for digest in measured & set(ids)},
        )

    def plan(self, fingerprint: Fingerprint, settings: TrainSettings) -> Plan:
        """The earlier model's grid and intensities, which its weights are made for.

        Raises:
            SSLSegError: a patch size is asked for that its network cannot halve.
        """
        earlier = self.model.plan
        try:
            return dataclasses.replace(
                earlier,
                labels=fingerprint.labels,
                patch_size=settings.patch_size or earlier.patch_size,
                fingerprint=fingerprint,
            )
        except ValueError as error:
            raise SSLSegError(
                f"The model '{self.model.name}' cannot go on with another patch size: {error}",
                remedy="Leave the patch size as it was.",
            ) from error

    def recipe(self, recipe: Recipe, settings: TrainSettings) -> Recipe:
        """The recipe with the earlier model's network, unless another was asked for."""
        name = settings.network or self.model.networks[0].spec.name
        return dataclasses.replace(recipe, network=name)


@torch.no_grad()
def load_weights(method: Method, model: TrainedModel) -> int:
    """Give the networks of a method, teachers included, the weights of an earlier model.

    Each network that would be shipped takes the first network of the model that is built as it is and that none has
    taken yet; two networks never share one, for networks that are equal stay equal and cannot teach each other.

    Returns:
        How many of the networks that would be shipped keep their freshly drawn weights, because the model has fewer.

    Raises:
        SSLSegError: the model has no network left that is built as the method's are.
    """
    left = list(model.networks)
    fresh = 0
    filled: list[SegmentationNetwork] = []
    for network in method.inference_networks():
        fitting = next((other for other in left if other.spec == network.spec), None)
        if fitting is None and left:
            raise SSLSegError(
                f"The model '{model.name}' cannot be started from, because its network "
                f"'{left[0].spec.name}' is built differently from the '{network.spec.name}' that is to be trained",
                remedy="Choose the same network and method as before, or train without a model to start from.",
            )
        if fitting is None:
            fresh += 1
            continue
        left.remove(fitting)
        network.load_state_dict(fitting.state_dict())
        filled.append(network)
    for student, teacher, _ in method.ema_pairs():
        # What is shipped is one of the two; the other starts where it does.
        if any(student is network for network in filled):
            teacher.load_state_dict(student.state_dict())
        elif any(teacher is network for network in filled):
            student.load_state_dict(teacher.state_dict())
    return fresh


def _outputs(labels: Collection[Label]) -> list[tuple[str, int]]:
    return [(normalised_name(label.name), label.value) for label in labels]


def _listed(labels: Collection[Label]) -> str:
    return ", ".join(f"{label.name} ({label.value})" for label in labels)
