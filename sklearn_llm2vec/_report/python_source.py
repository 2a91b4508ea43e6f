"""Python source that builds an estimator.

Parameters that are at their default are left out, and names are imported from where their
package documents them. What can't be written down, such as a lambda, becomes a name that
the reader fills in.

scikit-learn's own repr isn't enough. It ends a list after 30 elements and rounds the
numbers of kernels and arrays; functions, scorers and selectors print as what isn't
Python; and a ColumnTransformer in a Pipeline is indented beyond the width of a page.
"""

import ast
import builtins
import inspect
import os
import re
import sys
from dataclasses import dataclass, field

import numpy as np

WIDTH = 88
MOST_NUMBERS = 20  # of an array that is written out
# Modules that must be imported before scikit-learn has the class.
EXPERIMENTAL = {
    "IterativeImputer": "enable_iterative_imputer",
    "HalvingGridSearchCV": "enable_halving_search_cv",
    "HalvingRandomSearchCV": "enable_halving_search_cv",
}


@dataclass(frozen=True)
class _Call:
    """Brackets with something in them: a call, list, tuple or dict."""

    opening: str
    parts: list  # of (prefix, node), where a node is a str or another _Call
    closing: str

    def flat(self):
        inside = ", ".join(prefix + _flat(node) for prefix, node in self.parts)
        alone = "," if self.opening == "(" and len(self.parts) == 1 else ""
        return self.opening + inside + alone + self.closing


@dataclass
class SourceWriter:
    """Write values as Python expressions; remember what they need.

    Attributes
    ----------
    imports : set of (str, str)
        Module and name of what the expressions use.
    blanks : dict of str to str
        Names that the reader has to fill in, and what each stands for.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn_llm2vec._report.python_source import SourceWriter
    >>> writer = SourceWriter()
    >>> print(writer.assignment("model", make_pipeline(Ridge(alpha=0.5))))
    model = Pipeline([("ridge", Ridge(alpha=0.5))])
    >>> print(writer.head())
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import Pipeline
    """

    imports: set = field(default_factory=set)
    blanks: dict = field(default_factory=dict)

    def assignment(self, name, value):
        """Source of ``name = value``."""
        return _layout(f"{name} = ", self._node(value, name), "")

    def call(self, head, function, names, values):
        """Source of `head` and a call: positional names, then values by keyword."""
        parts = [("", name) for name in names]
        parts += [(f"{key}=", self._node(value, key)) for key, value in values.items()]
        return _layout(head, _Call(f"{function}(", parts, ")"), "")

    def expression(self, value, name):
        """Source of a value on one line; `name` is what a blank would be called."""
        return _flat(self._node(value, name))

    def blank(self, name, what):
        """A name that the reader fills in, not yet used for something else."""
        wanted = name if name.isidentifier() else "value"
        taken = {*dir(builtins), *(used for _, used in self.imports), *self.blanks}
        numbered = (f"{wanted}_{n}" for n in range(2, len(taken) + 3))
        chosen = next(one for one in (wanted, *numbered) if one not in taken)
        self.blanks[chosen] = what
        return chosen

    def use(self, module, name):
        """Import a name that the reader of the expressions adds."""
        self.imports.add((module, name))

    def head(self):
        """Source of the imports, and of the blanks."""
        by_module = {}
        for module, name in self.imports:
            by_module.setdefault(module, []).append(name)
        lines = [
            _layout(
                f"from {module} import ",
                # Parentheses appear only where the names need several lines.
                _Call("(", [("", name) for name in sorted(names)], ")"),
                "",
                plain=True,
            )
            for module, names in sorted(by_module.items())
        ]
        if self.blanks:
            lines.append("")
            lines += [f"{name} = ...  # {what}" for name, what in self.blanks.items()]
        return "\n".join(lines)

    # --- values to nodes --------------------------------------------------------------

    def _node(self, value, name):
        """The node of a value; `name` is that of the parameter which holds it."""
        for write in (
            self._literal,
            self._container,
            self._array,
            self._named,
            self._scorer,
            self._estimator,
            self._by_repr,
            self._by_attributes,
        ):
            node = write(value, name)
            if node is not None:
                return node
        return self.blank(
            name, f"{_short(value)} can't be written as code: define it here"
        )

    def _literal(self, value, name):
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, float) and not np.isfinite(value):
            return f'float("{value}")'
        if isinstance(value, str):
            return _quoted(value)
        if value is None or type(value) in (bool, int, float, complex, bytes):
            return repr(value)
        if value is ...:
            return "..."
        return None

    def _container(self, value, name):
        brackets = {list: "[]", tuple: "()", set: "{}"}.get(type(value))
        if brackets and (value or type(value) is not set):
            parts = [("", self._node(one, name)) for one in value]
            return _Call(brackets[0], parts, brackets[1])
        if type(value) is dict:
            parts = [
                (
                    self.expression(key, name) + ": ",
                    self._node(one, key if isinstance(key, str) else name),
                )
                for key, one in value.items()
            ]
            return _Call("{", parts, "}")
        if type(value) is slice:
            ends = (value.start, value.stop, value.step)
            return _Call("slice(", [("", self._node(e, name)) for e in ends], ")")
        return None

    def _array(self, value, name):
        if isinstance(value, np.dtype):
            return _quoted(value.str if value.names is None else str(value))
        if type(value) is not np.ndarray or value.size > MOST_NUMBERS:
            return None
        if value.dtype.kind not in "biufU":
            return None
        self.use("numpy", "array")
        parts = [("", self._node(value.tolist(), name))]
        if np.asarray(value.tolist()).dtype != value.dtype:
            parts.append(("dtype=", _quoted(value.dtype.name)))
        return _Call("array(", parts, ")")

    def _named(self, value, name):
        """A class or a function, by its name."""
        if not (inspect.isclass(value) or inspect.isroutine(value) or _is_ufunc(value)):
            return None
        return self._class_or_function(value) or self.blank(
            name, f"your own {_short(value)}: define or import it here"
        )

    def _class_or_function(self, value):
        """Its name, imported; None where no module has it under this name."""
        called = getattr(value, "__name__", "")
        if getattr(builtins, called, None) is value:
            return called
        home = _public_home(value, called)
        if home is None:
            return None
        if home.startswith("sklearn.") and called in EXPERIMENTAL:
            self.use("sklearn.experimental", EXPERIMENTAL[called])
        self.use(home, called)
        return called

    def _called(self, value):
        """The name of an object's class, imported or left blank."""
        kind = type(value)
        what = "your own class: import it here"
        named = self._class_or_function(kind)
        if named is None and self.blanks.get(kind.__name__) == what:
            return kind.__name__  # the second one of its kind
        return named or self.blank(kind.__name__, what)

    def _scorer(self, value, name):
        # What make_scorer returns has no public way back to its arguments.
        function = getattr(value, "_score_func", None)
        if function is None or not hasattr(value, "_sign"):
            return None
        self.use("sklearn.metrics", "make_scorer")
        parts = [("", self._node(function, name))]
        response = getattr(value, "_response_method", "predict")
        if response != "predict":
            parts.append(("response_method=", self._node(response, name)))
        if value._sign < 0:
            parts.append(("greater_is_better=", "False"))
        parts += [(f"{k}=", self._node(v, k)) for k, v in value._kwargs.items()]
        return _Call("make_scorer(", parts, ")")

    def _estimator(self, value, name):
        if not hasattr(value, "get_params") or isinstance(value, type):
            return None
        return self._construct(value, value.get_params(deep=False))

    def _by_repr(self, value, name):
        """What prints as a call of its class with plain values: KFold, for instance."""
        kind = type(value).__name__
        try:
            tree = ast.parse(repr(value), mode="eval").body
        except (SyntaxError, ValueError):
            return None
        if not isinstance(tree, ast.Call) or not _is_plain(tree, kind):
            return None
        params = {k.arg: ast.literal_eval(k.value) for k in tree.keywords}
        names = inspect.signature(type(value)).parameters
        given = map(ast.literal_eval, tree.args)
        return self._construct(value, params | dict(zip(names, given, strict=False)))

    def _by_attributes(self, value, name):
        """What scikit-learn keeps as its parameters say: make_column_selector."""
        if not type(value).__module__.startswith("sklearn."):
            return None
        names = inspect.signature(type(value)).parameters
        if not all(hasattr(value, one) for one in names):
            return None
        return self._construct(value, {one: getattr(value, one) for one in names})

    def _construct(self, value, params):
        """A call of the object's class with the parameters that aren't at default."""
        parts, positional = [], True
        signature = inspect.signature(type(value)).parameters
        for name, parameter in signature.items():
            if name not in params or _is_default(params[name], parameter.default):
                positional = False
                continue
            node = self._node(params[name], name)
            required = parameter.default is inspect.Parameter.empty
            positional = positional and required and parameter.kind in (0, 1)
            parts.append(("" if positional else f"{name}=", node))
        if any(p.kind is p.VAR_KEYWORD for p in signature.values()):
            extra = {n: v for n, v in params.items() if n not in signature}
            parts += [(f"{n}=", self._node(v, n)) for n, v in extra.items()]
        return _Call(f"{self._called(value)}(", parts, ")")


def _public_home(value, called):
    """The module that documents a class or function: the shortest that has it."""
    if _is_ufunc(value):
        return "numpy" if getattr(np, called, None) is value else None
    parts = (getattr(value, "__module__", None) or "__main__").split(".")
    if parts == ["__main__"] or getattr(value, "__qualname__", called) != called:
        return None
    homes = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    public = [home for home in homes if "._" not in home]
    for home in [*public, homes[-1]]:
        if getattr(sys.modules.get(home), called, None) is value:
            return home
    return None


def _is_ufunc(value):
    return isinstance(value, np.ufunc)


def _is_plain(call, kind):
    """Whether a parsed call is one of `kind` with literals only."""
    if not isinstance(call.func, ast.Name) or call.func.id != kind:
        return False
    try:
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            ast.literal_eval(value)
    except ValueError:
        return False
    return all(keyword.arg for keyword in call.keywords)


def _is_default(value, default):
    if value is default:
        return True
    return type(value) is type(default) and repr(value) == repr(default)


def _short(value):
    """A value in a comment: one line, not too long, the same in every run."""
    text = getattr(value, "__qualname__", None) or repr(value)
    text = re.sub(" at 0x[0-9a-f]+", "", " ".join(text.split()))
    return text if len(text) <= 50 else text[:49] + "…"


# ---------------------------------------------------------------------------------
# Nodes to lines


def _quoted(text):
    """A str literal in double quotes, where that needs no more escapes."""
    written = repr(text)
    if written[0] == "'" and '"' not in text and "\\" not in written:
        return f'"{text}"'
    return written


def _flat(node):
    return node if isinstance(node, str) else node.flat()


def _layout(head, node, tail, indent="", plain=False):
    """Lines of `head`, a node and `tail`: one where it fits, else one for each part."""
    flat = _flat(node)
    if plain and not isinstance(node, str):
        flat = ", ".join(part for _, part in node.parts)
    line = f"{indent}{head}{flat}{tail}"
    if isinstance(node, str) or not node.parts or len(line) <= WIDTH:
        return line
    alone = len(node.parts) == 1 and not isinstance(node.parts[0][1], str)
    if alone and node.opening != "(":  # a tuple of one keeps its comma
        # Pipeline([ ... ]): two brackets open and close together.
        ((prefix, part),) = node.parts
        return _layout(head + node.opening + prefix, part, node.closing + tail, indent)
    deeper = f"{indent}    "
    together = deeper + ", ".join(prefix + _flat(part) for prefix, part in node.parts)
    if node.opening[:-1].isidentifier() and len(together) <= WIDTH:
        inner = [together]
    else:
        inner = [_layout(prefix, part, ",", deeper) for prefix, part in node.parts]
    lines = [f"{indent}{head}{node.opening}", *inner, f"{indent}{node.closing}{tail}"]
    return "\n".join(lines)
