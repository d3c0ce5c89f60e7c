"""What one query finds in a database that SQLAlchemy knows, read in parts; optional: the extra `sql`."""

import hashlib
import importlib
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from common.samples import BadSourceError, Samples, Source
from common.sources.table import Rows, Table

_NUM_ROWS = 2**14  # that are fetched at once

Part = tuple[int, pa.RecordBatch, Mapping[str, str]]  # number of the first row, rows, the sha256 of each by id


@dataclass(frozen=True)
class Sql(Source):
    """A row is a sample, its columns as those of `common.sources.table`. Rows have no order: one column is the id."""

    url: str  # as postgresql+psycopg://user@host/database, without a password
    query: str
    id: str  # column of stable names
    password_variable: str | None = None  # of the environment, which holds the password
    target: str | tuple[str, ...] | None = None
    task: Literal["auto", "classification", "regression"] = "auto"
    inputs: tuple[str, ...] | None = None
    group: str | None = None
    split: str | None = None
    time: str | None = None
    missing: Literal["error", "drop"] | float = "error"

    repeats = False  # rows have no order, and a database changes

    @property
    def name(self) -> str:
        """The database."""
        return self.url

    def parts(self) -> Generator[Part, None, None]:
        """Yield some rows. Raises BadSourceError, with what the database says, where it does not answer."""
        kinds: dict[str, pa.DataType] = {}
        first = 0
        with self._explain(), closing(self._fetch()) as fetched:
            for columns, rows in fetched:
                if self.id not in columns:
                    raise BadSourceError(
                        f"{self.url}: the query has no column '{self.id}': there are {', '.join(columns)}"
                    )
                yield first, *self._pack(columns, rows, kinds)
                first += len(rows)

    def load(self, part: Part) -> Samples:
        """Return the samples of some rows. Raises BadSourceError, naming column and row, for what is no number."""
        first, rows, digests = part
        samples = self._table().load(Rows(0, first, self.url, rows))
        return samples._replace(digests=[digests[name] for name in samples.ids])

    def _table(self) -> Table:
        shared = ("id", "target", "task", "inputs", "group", "split", "time", "missing")
        return Table(self.url, **{field: getattr(self, field) for field in shared})

    def _fetch(self) -> Generator[tuple[list[str], Sequence[tuple[Any, ...]]], None, None]:
        """Yield the names of columns with some rows."""
        sqlalchemy = _import_sqlalchemy()
        engine = sqlalchemy.create_engine(self._complete_url(sqlalchemy), poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            result = connection.execution_options(stream_results=True).exec_driver_sql(self.query)
            if not result.returns_rows:
                raise BadSourceError(f"{self.url}: the query finds no rows; wanted a SELECT")
            for rows in result.partitions(_NUM_ROWS):
                yield list(result.keys()), [tuple(row) for row in rows]

    def _complete_url(self, sqlalchemy: Any) -> Any:
        """Return the URL with its password. Raises BadSourceError where it has one, which params must not hold."""
        url = sqlalchemy.make_url(self.url)
        if url.password is not None or any("passw" in key.lower() for key in url.query):
            hidden = url.set(query={}).render_as_string(hide_password=True)
            hint = "data.source.password_variable names the variable of the environment that has it"
            raise BadSourceError(f"{hidden}: the URL holds a password; {hint}")
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_file():
            raise BadSourceError(f"{self.url}: there is no file '{url.database}'")
        if self.password_variable is None:
            return url
        if self.password_variable not in os.environ:
            raise BadSourceError(f"{self.url}: the environment has no variable '{self.password_variable}'")
        return url.set(password=os.environ[self.password_variable])

    def _pack(
        self, columns: Sequence[str], rows: Sequence[tuple[Any, ...]], kinds: dict[str, pa.DataType]
    ) -> tuple[pa.RecordBatch, Mapping[str, str]]:
        """Return rows as Arrow has them; `kinds` are the types of columns in the rows before."""
        values = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
        if len(values) < len(columns):
            raise BadSourceError(f"{self.url}: the query has several columns of one name: {', '.join(columns)}")
        values[self.id] = [name if name is None else str(name) for name in values[self.id]]
        targets = (self.target,) if isinstance(self.target, str) else self.target or ()
        named = {self.id, self.group, self.split, self.time, *targets}
        arrays = {}
        for column, members in values.items():
            array = self._convert(column, members, kinds.get(column))
            if column in named and not pa.types.is_null(array.type):  # whole numbers of inputs may turn into others
                kinds[column] = array.type
            arrays[column] = array
        digests = [hashlib.sha256(repr(row).encode()).hexdigest() for row in rows]
        return pa.RecordBatch.from_pydict(arrays), dict(zip(values[self.id], digests, strict=True))

    def _convert(self, column: str, values: list[Any], kind: pa.DataType | None) -> pa.Array:
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            found = " ".join(str(error).split())[:200]
            raise BadSourceError(f"{self.url}: column '{column}' holds values of several types: {found}") from error

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Turn what SQLAlchemy raises into one line."""
        sqlalchemy = _import_sqlalchemy()
        try:
            yield
        except sqlalchemy.exc.ArgumentError as error:  # its message may quote the URL
            raise BadSourceError(f"data.source.url is no URL of a database that is known: {error}") from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            text = " ".join(str(getattr(error, "orig", None) or error).split())
            raise BadSourceError(f"{self.url}: the database says: {text[:300]}") from error
        except ModuleNotFoundError as error:
            raise BadSourceError(f"{self.url} wants the package '{error.name}', which is not installed") from error


def _import_sqlalchemy() -> Any:
    try:
        return importlib.import_module("sqlalchemy")
    except ModuleNotFoundError as error:
        raise BadSourceError("this source wants the package 'sqlalchemy'; make extras NAMES=sql") from error
