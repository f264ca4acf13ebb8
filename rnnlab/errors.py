"""The one error class of the library.

A message says what is wrong, with the offending value and shape, then what to do about it.
"""


class RnnlabError(ValueError):
    """Something the caller can put right: a wrong size, an unknown name, a missing initial state.

    The text names the object that refused, the offending value or shape, and the remedy.
    Whatever raised it is left exactly as it was before the call.

    Example:
        >>> import torch, rnnlab as rl
        >>> rl.LSTM(10, 15)(torch.ones(4, 12))
        Traceback (most recent call last):
        rnnlab.errors.RnnlabError: LSTMCell(10, 15): x has 12 features, expected 10; \
x.shape = (4, 12)
    """
