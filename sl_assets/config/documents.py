"""YAML files, read so that nothing in them is passed over; what is wrong with one is said in one line."""

from pathlib import Path
from typing import Any

import yaml

from sl_assets.errors import ExperimentFileError


class _OnceOnly(yaml.SafeLoader):
    """YAML in which a section that stands there twice is an error; else the last would count, and nobody would know."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: list[Any] = []
        for key, _ in node.value:
            names.append(self.construct_object(key, deep=True))
            if names[-1] in names[:-1]:
                problem = f"{names[-1]} stands there twice"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def documents_in(file: Path) -> list[Any]:
    """The YAML documents of ``file``.

    Raises:
        ExperimentFileError: it cannot be read, or is not YAML; names the file and the line.
    """
    try:
        return list(yaml.load_all(file.read_text(encoding="utf-8"), _OnceOnly))
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentFileError(f"{file}: cannot be read ({getattr(error, 'strerror', error)})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise ExperimentFileError(f"{file}:{line} not YAML ({problem})") from None
