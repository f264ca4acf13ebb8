"""What to do about an error that a model raised in the middle of an analysis."""

from __future__ import annotations

_KNOWN = (
    (
        ("numpy()", "to numpy", ".item()"),
        "A derivative can be followed through torch operations only; write the step without "
        ".numpy(), .item() and the like.",
    ),
    (
        ("in-place operation",),
        "The step changes a tensor of the model in place (a buffer, a counter), and no derivative "
        "can be taken through that. If it does so in training only, model.eval() helps; else keep "
        "it out of the step.",
    ),
    (
        ("when training",),
        "A layer of the model needs a batch in training mode; model.eval() takes single rows.",
    ),
)


def told(error: Exception, otherwise: str) -> str:
    """The error and what to do: `otherwise`, unless more is known of such an error.

    Example:
        >>> told(KeyError("lost"), "Look at the model.")
        "KeyError: 'lost'. Look at the model."
    """
    said = f"{type(error).__name__}: {error}".rstrip(".")
    text = str(error)
    fitting = (advice for words, advice in _KNOWN if any(word in text for word in words))
    return f"{said}. {next(fitting, otherwise)}"
