"""Find training rows that say nearly the same as a row of the tests.

Usage: ``python -m training.overlap`` lists every pair above the limit, nearest first, and prints one JSON line last.
"""

import argparse
import json
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from training.examples import TESTS, Row, read_contrast, read_rows

LIMIT = 0.62
Near = tuple[float, int, int]


def near(texts: Sequence[str], others: Sequence[str], limit: float = LIMIT) -> list[Near]:
    """Find the texts whose nearest other text is nearer than a limit.

    Parameters
    ----------
    texts, others : sequence of str
        Two lists; each of the first is compared with all of the second.
    limit : float
        Cosine of TF-IDF vectors of character n-grams (3 to 5 letters within words) above which a pair counts.

    Returns
    -------
    list of tuple
        Cosine, index in ``texts``, index of the nearest in ``others``; nearest first.
    """
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, dtype=np.float32)
    vectors = grams.fit_transform([*texts, *others])
    first, second = vectors[: len(texts)], vectors[len(texts) :].T.tocsc()
    found: list[Near] = []
    for start in range(0, len(texts), 256):
        cosines = (first[start : start + 256] @ second).tocsr()
        best = np.asarray(cosines.argmax(axis=1)).ravel()
        found += [(float(cosines[i, j]), start + i, int(j)) for i, j in enumerate(best) if cosines[i, j] > limit]
    return sorted(found, reverse=True)


def as_one_text(row: Row) -> str:
    """Join the contents of a conversation, without role words, which would make all rows alike.

    Parameters
    ----------
    row : Row
        Any row.

    Returns
    -------
    str
        Contents in order, a line each.
    """
    return "\n".join(message["content"] for message in row["messages"])


def read_tests() -> list[tuple[str, str]]:
    """Read what may not come back in training: the texts of the five tests.

    Returns
    -------
    list of tuple of str
        Id and text; the neutral passages of the position test are among them.
    """
    lines = (TESTS / "neutral.jsonl").read_text(encoding="utf-8").splitlines()
    found = [(row["id"], row["text"]) for row in map(json.loads, lines)]
    for path in [path for path in sorted(TESTS.glob("*.jsonl")) if path.stem != "neutral"]:
        found += [(row["id"], as_one_text(row)) for row in read_rows(path)]
    return found


def main() -> None:
    """Compare the contrast rows that are trained on with the tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=LIMIT)
    args = parser.parse_args()
    rows, tests = read_contrast()[0], read_tests()
    found = near([as_one_text(row) for row in rows], [text for _, text in tests], args.limit)
    for cosine, index, other in found:
        print(f"{cosine:.2f} {rows[index]['id']} {tests[other][0]}")
        print(f"    {as_one_text(rows[index])[:110]!r}\n    {tests[other][1][:110]!r}")
    print(json.dumps({"rows": len(rows), "tests": len(tests), "limit": args.limit, "near": len(found)}))


if __name__ == "__main__":
    main()
