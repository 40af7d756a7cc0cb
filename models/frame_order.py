"""The order in which a model processes the frames of a video."""

from tlee.errors import UsageError

# Published orders: the middle first, then ever finer (`input_order8/10/16`).
PUBLISHED_ORDERS = {
    8: [3, 6, 7, 0, 4, 5, 2, 1],
    10: [5, 0, 9, 2, 7, 4, 6, 3, 8, 1],
    16: [9, 8, 6, 3, 15, 1, 0, 12, 14, 2, 10, 7, 13, 11, 4, 5],
}


def frame_order(count: int, kind: str = "coarse") -> list[int]:
    """Processing order of `count` uniformly sampled frames.

    Args:
        kind: "coarse" for the middle first, then ever finer: the published order where there is one,
            else each next frame is the one farthest from all before it. "chronological" as they come.

    Raises:
        UsageError: another kind.

    Examples:
        >>> frame_order(10)
        [5, 0, 9, 2, 7, 4, 6, 3, 8, 1]
        >>> frame_order(5)
        [2, 0, 4, 1, 3]
    """
    if kind == "chronological":
        return list(range(count))
    if kind != "coarse":
        raise UsageError("frame order", f"'{kind}' is not known", "use coarse or chronological")
    if count in PUBLISHED_ORDERS:
        return list(PUBLISHED_ORDERS[count])
    order = [count // 2]
    while len(order) < count:
        rest = [i for i in range(count) if i not in order]
        order.append(max(rest, key=lambda i: min(abs(i - j) for j in order)))
    return order
