"""Whether two formulas, as trees, are the same answer: numbers, lists, pairs, intervals, equations, matrices, words.

The order counts in pairs and vectors, and does not in sets, lists of solutions and unions. A condition on one variable
is the interval that it describes. An answer is not right because it contains the reference among other things.
"""

from __future__ import annotations

from prorl_mega.tasks.answers import values
from prorl_mega.tasks.answers.calculator import UnknownError
from prorl_mega.tasks.answers.operators import Tree, children

MAX_ITEMS = 64  # longest list: in the worst case every item is compared with every other

_MANY = ("list", "either", "set")
_SCALARS = frozenset(
    ("number", "symbol", "+", "*", "/", "^", "-", "call", "log", "apply", "root", "binom", "!", "%", "degree")
)
_CALCULATED = frozenset(("call", "log", "binom", "!"))
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_INTEGRATION_CONSTANTS = "CcKk"  # as answers write them
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_COUNTING = "ijklmn"  # letters of whole numbers, which nobody integrates over
_INFINITY: Tree = ("infinity",)
_MINUS_INFINITY: Tree = ("-", _INFINITY)
_REALS: Tree = ("interval", None, "(", _MINUS_INFINITY, _INFINITY, ")")


def same(gold: Tree, answer: Tree) -> bool:
    """Whether `answer` is `gold`. Raises UnknownError if the bounds of `values` do not allow a verdict."""
    return _same(normal(gold), normal(answer))


def literal(tree: Tree) -> bool:
    """Whether a formula is a number that needs no calculation: 3, -0.5, 2/3, 50%."""
    kind = tree[0]
    if kind in ("-", "%", "degree"):
        return tree[1][0] in ("number", "/", "%") and literal(tree[1])
    if kind == "/":
        return all(part[0] == "number" or (part[0] == "-" and part[1][0] == "number") for part in tree[1:])
    return bool(kind == "number")


def _same(gold: Tree, answer: Tree) -> bool:
    if gold == answer:
        return True
    kinds = {gold[0], answer[0]}
    if kinds & set(_MANY):
        return _same_many(gold, answer)
    if kinds & {"relation"}:
        return _same_relations(gold, answer)
    if kinds & {"interval"}:
        return _same_intervals(gold, answer)
    if gold[0] in _SCALARS and answer[0] in _SCALARS:
        return _same_values(gold, answer)
    if kinds == {"tuple", "apply"}:
        gold, answer = _point(gold), _point(answer)
        return gold[0] == answer[0] and _same(gold, answer)
    if gold[0] != answer[0]:
        return False
    if gold[0] == "union":
        return _matched(gold[1], answer[1])
    if gold[0] == "tuple":
        return (gold[1], gold[3]) == (answer[1], answer[3]) and _in_order(gold[2], answer[2])
    if gold[0] == "matrix":
        return len(gold[1]) == len(answer[1]) and all(map(_in_order, gold[1], answer[1]))
    if gold[0] == "text":
        return bool(gold[1] == answer[1])
    if gold[0] == "based":
        return bool(gold[1] == answer[1]) and _same(gold[2], answer[2])
    return gold == answer


def _point(tree: Tree) -> Tree:
    """The pair of a point with its name, P(1,2); other trees unchanged."""
    named = tree[0] == "apply" and tree[1].isupper() and len(tree[2]) > 1
    return ("tuple", "(", tree[2], ")") if named else tree


# --- one tree for all ways of writing an answer


def normal(tree: Tree) -> Tree:
    """The tree in its normal form."""
    kind = tree[0]
    if kind == "in" and tree[1][0] == "symbol":
        inside = normal(tree[2])
        return (*inside[:1], tree[1][1], *inside[2:]) if inside[0] == "interval" else inside
    if kind == "name" and tree[1] == "R":
        return _REALS
    if kind == "text":
        return ("text", " ".join(tree[1].lower().replace("-", " ").split()).strip(" .,"))
    if kind == "relation":
        return _condition(tree)
    if kind in _MANY:
        return _flat(kind, tree[1])
    if kind == "union":
        return ("union", [_as_interval(normal(part)) for part in tree[1]])
    if kind == "tuple":
        return ("tuple", tree[1], [normal(item) for item in tree[2]], tree[3])
    if kind == "matrix":
        return _vector(tree)
    signs = _both_signs(tree)
    return tree if signs is None else ("list", signs)


def _flat(kind: str, items: list[Tree]) -> Tree:
    """The items without nesting, as plus-minus makes it; conditions joined by "or" are a union."""
    found: list[Tree] = []
    for item in items:
        each = normal(item)
        if each[0] == "list":
            found += each[1]
        else:
            found.append(each)
    if kind == "either" and all(item[0] == "interval" for item in found):
        names = {item[1] for item in found}
        return ("union", found) if len(names) == 1 else ("list", found)
    return (kind, found)


def _vector(tree: Tree) -> Tree:
    rows = [[normal(item) for item in row] for row in tree[1]]
    if len(rows) > 1 and all(len(row) == 1 for row in rows):
        return ("tuple", "(", [row[0] for row in rows], ")")
    return ("matrix", rows)


def _both_signs(tree: Tree) -> list[Tree] | None:
    """The two formulas that one with plus-minus stands for; None without plus-minus."""
    return [_sign(tree, True), _sign(tree, False)] if _signed(tree) else None


def _signed(tree: Tree) -> bool:
    return tree[0] in ("pm", "mp") or any(map(_signed, children(tree)))


def _sign(tree: Tree, upper: bool) -> Tree:
    if tree[0] in ("pm", "mp"):
        first, second = _sign(tree[1], upper), _sign(tree[2], upper)
        signed = second if upper == (tree[0] == "pm") else ("-", second)
        return signed if first == ("number", 0) else ("+", [first, signed])

    def inside(part: object) -> object:
        return _sign(part, upper) if isinstance(part, tuple) else part

    return tuple([*map(inside, part)] if isinstance(part, list) else inside(part) for part in tree)


def _condition(tree: Tree) -> Tree:
    """The interval that x > 3 or 1 < x <= 2 describes, with the name of its variable; other relations unchanged."""
    _, operators, sides = tree
    sides = [normal(side) for side in sides]
    if len(operators) == 1 and sides[0][0] in _SCALARS | {"infinity"} and sides[1][0] == "symbol":
        operators, sides = [_MIRRORED[operators[0]]], sides[::-1]
    inequality = len(operators) == 1 and sides[0][0] == "symbol" and operators[0][0] in "<>"
    if inequality and sides[0][1] not in values.symbols(sides[1]):  # -infinity < x < 3, or infinity > x > 3
        operators = [operators[0][0], *operators]
        sides = [_MINUS_INFINITY if operators[0] == "<" else _INFINITY, *sides]
    if len(operators) == 2 and sides[1][0] == "symbol":
        if all(sign.startswith(">") for sign in operators):
            operators, sides = [_MIRRORED[sign] for sign in operators[::-1]], sides[::-1]
        if all(sign.startswith("<") for sign in operators):
            low, high = ("[" if operators[0] == "<=" else "("), ("]" if operators[1] == "<=" else ")")
            return ("interval", sides[1][1], low, sides[0], sides[2], high)
    return ("relation", operators, sides)


def _as_interval(tree: Tree) -> Tree:
    if tree[0] == "tuple" and len(tree[2]) == 2:
        return ("interval", None, tree[1], tree[2][0], tree[2][1], tree[3])
    return tree


# --- comparison by kind


def _same_values(gold: Tree, answer: Tree) -> bool:
    """Whether values are equal, and the answer has no function of numbers to calculate where the gold has none."""
    if "degree" in (gold[0], answer[0]):
        return _same_angles(gold, answer)
    if calculates(answer, _logarithmic(gold)) and not calculates(gold):
        return False
    if literal(gold) and not literal(answer):
        return False
    if _has_steps(answer) and not _has_steps(gold):  # a step may lie where the gold has no value that is calculated
        return False
    if values.equal(gold, answer) or (gold[0] == "%" and answer[0] != "%" and values.equal(gold[1], answer)):
        return True
    integral = _without_constant(gold, "C")
    found = None if integral is None else _without_constant(answer, _INTEGRATION_CONSTANTS)
    return integral is not None and found is not None and values.shifted(integral, found)


def degrees(tree: Tree) -> Tree:
    """A number of degrees; other trees, such as lists of which only the last item has the sign, unchanged."""
    return ("degree", tree) if tree[0] in _SCALARS else tree


def _same_angles(gold: Tree, answer: Tree) -> bool:
    """Whether 30 degrees, written with the sign or without it, is meant by both; the sign apart, pi/6 is the same."""
    sides = [tree[1] if tree[0] == "degree" else tree for tree in (gold, answer)]
    radians = answer if gold[0] == "degree" else gold
    if (radians[0] == "degree" or not _has_pi(radians)) and _same_values(*sides):
        return True
    return _part_of_pi(radians) and values.equal(gold, answer)


def _has_pi(tree: Tree) -> bool:
    return tree == ("symbol", "pi") or any(map(_has_pi, children(tree)))


def _part_of_pi(tree: Tree) -> bool:
    """Whether a formula is a number of radians that needs no more calculation than a fraction does."""
    return (
        tree[0] == "number" or tree == ("symbol", "pi") or (tree[0] in "-*/" and all(map(_part_of_pi, children(tree))))
    )


def calculates(tree: Tree, logarithms: bool = False) -> bool:
    """Whether a formula has a function of numbers, such as a sine or a factorial; `logarithms` do not count then."""
    if tree[0] in _CALCULATED and not (logarithms and _is_logarithm(tree)) and not values.symbols(tree):
        return True
    return any(calculates(part, logarithms) for part in children(tree))


def _has_steps(tree: Tree) -> bool:
    """Whether a formula rounds a variable down or up."""
    is_step = tree[0] == "call" and tree[1] in ("floor", "ceil") and bool(values.symbols(tree[2]))
    return is_step or any(map(_has_steps, children(tree)))


def _logarithmic(tree: Tree) -> bool:
    """Whether a formula has a logarithm or an exponential, whose base an answer may change: log_2 x is ln x / ln 2."""
    if _is_logarithm(tree) or (tree[0] == "^" and values.symbols(tree[2])):
        return True
    return any(map(_logarithmic, children(tree)))


def _is_logarithm(tree: Tree) -> bool:
    return tree[0] == "log" or (tree[0] == "call" and tree[1] in ("ln", "log"))


def is_antiderivative(tree: Tree) -> bool:
    """Whether a reference is an antiderivative: it ends with a constant that is free."""
    return _without_constant(tree, "C") is not None


def _without_constant(tree: Tree, constants: str) -> Tree | None:
    """An antiderivative without its constant; None unless it is a sum of that and of a function of one variable.

    A reference has to have the constant that textbooks write, a capital C: any other letter is a letter. The variable
    is a small one, and none that counts.
    """
    if tree[0] != "+":
        return None
    rest = [term for term in tree[1] if not (term[0] == "symbol" and term[1] in constants)]
    if len(rest) != len(tree[1]) - 1 or not rest:
        return None
    left: Tree = rest[0] if len(rest) == 1 else ("+", rest)
    names = values.symbols(left)
    variable = next(iter(names), "")
    return left if len(names) == 1 and variable.islower() and variable not in (*_COUNTING, *constants) else None


def _same_many(gold: Tree, answer: Tree) -> bool:
    gold, answer = (_unnamed_pair(tree) for tree in (gold, answer))
    if "tuple" in (gold[0], answer[0]):
        pairs = [_as_pair(tree) if tree[0] in _MANY else tree for tree in (gold, answer)]
        return pairs[0] is not None and pairs[1] is not None and _same(pairs[0], pairs[1])
    sides = [tree[1] if tree[0] in _MANY else [tree] for tree in (gold, answer)]
    named = [[_named(item) for item in side] for side in sides]
    if numbered := _without_index(named[1]):  # the solutions x_1 = 2, x_2 = 3, which have no order otherwise
        letter = numbered[0][0]
        if not any(item and item[0] != letter for item in named[0]):
            return _matched(
                [item[1] if item else side for item, side in zip(named[0], sides[0], strict=True)],
                [value for _, value in numbered],
            )
    alike = [all(names) and len({name for name, _ in filter(None, names)}) == 1 for names in named]
    for which in (0, 1):
        if alike[which] and not any(named[1 - which]):
            sides[which] = [value for _, value in filter(None, named[which])]
        elif any(named[which]) and not any(named[1 - which]):
            return False  # x = 1, y = 2 is no list of two values
    return _matched(sides[0], sides[1])


def _without_index(named: list[tuple[str, Tree] | None]) -> list[tuple[str, Tree]]:
    """Names and values of x_1 = 2, x_2 = 3 with the name x; none of others."""
    names = [item[0].rpartition("_") for item in named if item]
    numbered = len(names) == len(named) and len({name for name, _, _ in names}) == 1
    if not numbered or sorted(index for _, _, index in names) != [str(1 + place) for place in range(len(names))]:
        return []
    return [(names[0][0], item[1]) for item in named if item]


def _unnamed_pair(tree: Tree) -> Tree:
    """The pair of (x, y) = (1, 2) and of P(1, 2); other trees unchanged."""
    named = _named(tree)
    return named[1] if named and named[1][0] == "tuple" else _point(tree)


def _as_pair(tree: Tree) -> Tree | None:
    """The pair (1, 2) that x = 1, y = 2 gives; None unless the names are letters that follow each other, as x and y."""
    named = dict(filter(None, map(_named, tree[1])))
    names = "".join(sorted(named))
    if tree[0] != "list" or len(names) != len(tree[1]) or len(names) < 2 or names not in _ALPHABET:
        return None
    return ("tuple", "(", [named[name] for name in names], ")")


def _matched(gold: list[Tree], answer: list[Tree]) -> bool:
    """Whether every item of one side has a partner of its own on the other."""
    if len(gold) != len(answer) or len(gold) > MAX_ITEMS:
        return False
    left = list(answer)
    for item in gold:
        place = next((place for place, other in enumerate(left) if _told(item, other)), None)
        if place is None:
            return False
        del left[place]
    return True


def _told(gold: Tree, answer: Tree) -> bool:
    try:
        return _same(gold, answer)
    except UnknownError:
        return False


def _in_order(gold: list[Tree], answer: list[Tree]) -> bool:
    return len(gold) == len(answer) and all(map(_same, gold, answer))


def _same_intervals(gold: Tree, answer: Tree) -> bool:
    gold, answer = _as_interval(gold), _as_interval(answer)
    if gold[0] != "interval" or answer[0] != "interval":
        return False
    if gold[1] is not None and answer[1] is not None and gold[1] != answer[1]:
        return False
    ends_alike = (gold[2], gold[5]) == (answer[2], answer[5])
    return ends_alike and _same(gold[3], answer[3]) and _same(gold[4], answer[4])


def _same_relations(gold: Tree, answer: Tree) -> bool:
    left, right = _named(gold), _named(answer)
    if gold[0] != "relation":
        return right is not None and _same(gold, right[1])
    if answer[0] != "relation":
        return left is not None and _same(left[1], answer)
    if len(gold[1]) != len(answer[1]) or len(gold[1]) > 1:
        return bool(gold[1] == answer[1]) and _in_order(gold[2], answer[2])
    if left and right and left[0] == right[0]:
        return _same(left[1], right[1])
    if left and not right and not values.symbols(left[1]):
        return False  # the gold is solved, the answer is not
    operator, mirrored = gold[1][0], answer[1][0] != gold[1][0]
    if answer[1][0] not in (operator, _MIRRORED[operator]):
        return False
    if any(side[0] not in _SCALARS for side in (*gold[2], *answer[2])):
        return operator == answer[1][0] and _in_order(gold[2], answer[2])
    differences: list[Tree] = [("+", [sides[0], ("-", sides[1])]) for sides in (gold[2], answer[2])]
    if operator in ("=", "!="):
        return values.proportional(differences[0], differences[1])
    return values.equal(differences[0], ("-", differences[1]) if mirrored else differences[1])


def _named(tree: Tree) -> tuple[str, Tree] | None:
    """Name and value of `x = 3`, `3 = x` or `AB = 5`; None for other trees. A value does not contain its own name."""
    if tree[0] != "relation" or tree[1] != ["="]:
        return None
    first, second = tree[2]
    if first[0] == "tuple" and all(item[0] == "symbol" for item in first[2]):
        names = [item[1] for item in first[2]]
        return (",".join(names), second) if names == sorted(names) else None
    for name, value in (tree[2], tree[2][::-1]):
        letters = _letters(name)
        if letters and not letters & values.symbols(value) and value[0] != "relation":
            return "".join(sorted(letters)), value
    return None


def _letters(tree: Tree) -> frozenset[str]:
    """The variables of a name: one variable, a product of capitals such as AB, or f(x)."""
    if tree[0] in ("symbol", "apply"):
        return values.symbols(tree)
    if tree[0] != "*" or not all(_letters(part) for part in tree[1]):
        return frozenset()
    letters = [_letters(part) for part in tree[1]]
    names = frozenset().union(*letters)
    return names if all(name[0].isupper() for name in names) else frozenset()
