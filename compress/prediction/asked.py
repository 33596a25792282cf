"""Predicted latency as a limit: only where a recipe asks for it by that name."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compress.prediction.boards import BOARDS, board
from runtime.budget import Budget
from runtime.errors import RecipeError

if TYPE_CHECKING:
    from compress.prediction.prediction import Prediction
    from runtime.artifact import Artifact
    from runtime.profiling import Voice


def predicted_apart(budget: object) -> object:
    """Read `latency_ms: {predicted: 20ms, target: rpi5}` as the two limits that it is.

    A prediction is judged only where it is asked for by that name.
    """
    if not isinstance(budget, Mapping):
        return budget
    latency = budget.get("latency_ms")
    if not isinstance(latency, Mapping):
        return budget
    if set(latency) != {"predicted", "target"}:
        raise ValueError(
            "latency_ms should be a time, or {predicted: 20ms, target: rpi5}"
        )
    others = {key: value for key, value in budget.items() if key != "latency_ms"}
    if others.keys() & {"predicted_ms", "predicted_target"}:
        raise ValueError("a prediction is asked for twice; leave one of the two out")
    asked = {
        "predicted_ms": latency["predicted"],
        "predicted_target": latency["target"],
    }
    return {**others, **asked}


def or_predicted(schema: dict[str, Any]) -> None:
    """Let the JSON Schema of limits say what `predicted_apart` reads."""
    limits = schema["properties"]
    nested = {
        "predicted": {"anyOf": limits["predicted_ms"]["anyOf"]},
        "target": {"type": "string"},
    }
    limits["latency_ms"]["anyOf"].append(
        {
            "type": "object",
            "properties": nested,
            "required": [*nested],
            "additionalProperties": False,
        }
    )


def check_predicted(limits: Budget, formats: Sequence[str]) -> None:
    """RecipeError for a board that is not known, or where no TFLite file is written."""
    name = limits.predicted_target
    if name is None:
        return
    if name not in BOARDS:
        raise RecipeError(
            f"budget: no predictions for {name!r}; known: {', '.join(sorted(BOARDS))}"
        )
    if "tflite" not in formats:
        raise RecipeError(
            "budget: predictions are of TFLite files; add tflite to export.to (--to)"
        )


def check_can_predict(limits: Budget) -> None:
    """MissingDependencyError where a limit is set that nothing here can predict."""
    if limits.predicted_target is not None:
        from compress.prediction.predict import check_installed

        check_installed()


def predictions_for(
    limits: Budget, files: Sequence["Artifact"], screen: "Voice"
) -> Mapping[str, "Prediction"]:
    """By name, what the budget asks of each TFLite file; nothing where it does not."""
    if limits.predicted_target is None:
        return {}
    from compress.prediction.predict import predicted

    there = board(limits.predicted_target)
    return {
        each.path.name: predicted(each, there, screen)
        for each in files
        if each.format == "tflite"
    }
