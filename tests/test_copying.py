import io

import numpy as np
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from app.catalog import copying
from app.catalog.copying import Fields, copy_columns, copy_out

FIELDS: Fields = {
    "number": ("n", ">i8"),
    "short": ("(-n)::smallint", ">i2"),
    "odd": ("n % 2 = 1", "?"),
    "words": ("int8send(n) || int8send(-n)", np.dtype((">u8", 2))),
}


def copied(engine: Engine, table: str) -> dict[str, np.ndarray]:
    with engine.connect() as connection:
        return copy_columns(connection, FIELDS, table, "n IS DISTINCT FROM 7")


@pytest.mark.parametrize("bytes_at_once", [1, 50, 1000, 1 << 18])
@pytest.mark.parametrize("count", [0, 1, 2, 3000])
def test_columns_are_those_of_the_rows_however_they_are_gathered(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, count: int, bytes_at_once: int
) -> None:
    monkeypatch.setattr(copying, "_BYTES_AT_ONCE", bytes_at_once)
    found = copied(engine, f"generate_series(1::bigint, {count}) n")
    numbers = np.delete(np.arange(1, count + 1), slice(6, 7))
    expected = {
        "number": numbers,
        "short": (-numbers).astype(np.int16),
        "odd": numbers % 2 == 1,
        "words": np.stack([numbers, -numbers], axis=1).astype(np.uint64),
    }
    for name, column in expected.items():
        assert found[name].dtype == column.dtype
        assert np.array_equal(found[name], column)


def test_more_rows_than_the_planner_expects_are_read(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_likely_rows", lambda _connection, _table: 10)
    found = copied(engine, "generate_series(1001::bigint, 9000) n")
    assert np.array_equal(found["number"], np.arange(1001, 9001))
    assert np.array_equal(found["words"][:, 0], np.arange(1001, 9001))


@pytest.mark.parametrize("row", ["NULL", "NULL UNION ALL SELECT 3"])
def test_null_among_the_rows_is_refused(engine: Engine, row: str) -> None:
    with pytest.raises(ValueError, match="sizes"):
        copied(engine, f"(SELECT 1::bigint AS n UNION ALL SELECT {row}) n")


def test_connection_goes_on_after_a_refusal(engine: Engine) -> None:
    with engine.connect() as connection:
        with pytest.raises(ValueError, match="sizes"):
            copy_columns(connection, FIELDS, "(SELECT NULL::bigint AS n) n", "true")
        assert connection.execute(text("SELECT 1")).scalar_one() == 1


def test_a_copy_that_takes_too_long_is_an_error_as_sqlalchemy_has_it(engine: Engine) -> None:
    """So that it is told as a database that is away, and not as a bug."""
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 50"))
        with pytest.raises(OperationalError, match="statement timeout"):
            copy_out(connection, "COPY (SELECT pg_sleep(5)) TO STDOUT", io.BytesIO())
