"""How many weights are gone by when, as a pure function of the training's progress."""


def cubic(share: float, final: float) -> float:
    """The sparsity after `share` of the thinning, 0 to 1, on the way from 0 to `final`.

    Zhu and Gupta 2017, equation 1: fast while many weights are redundant, slow when
    every further one is missed.
    """
    left = 1 - min(1.0, max(0.0, share))
    return final * (1 - left**3)
