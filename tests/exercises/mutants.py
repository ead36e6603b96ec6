"""Mutants of a solution: the same code with one small fault, made over its syntax tree."""

import ast
from copy import deepcopy

COMPARED = {
    ast.Gt: [ast.GtE, ast.Lt, ast.NotEq],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Lt: [ast.LtE, ast.Gt, ast.NotEq],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Eq: [ast.NotEq, ast.LtE, ast.GtE],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
}
"""What a comparison becomes."""
DEFINES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
"""What may stand before or after the next line."""
COMPUTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult}


def mutants(source):
    """Yield a name and a source for each mutant. The name has the line before and after."""
    tree, seen = ast.parse(source), {ast.unparse(ast.parse(source))}
    for place, node in enumerate(ast.walk(tree)):
        for change in changes(node):
            other = deepcopy(tree)
            mutated = list(ast.walk(other))[place]
            change(mutated)
            mutant = ast.unparse(ast.fix_missing_locations(other))
            if mutant not in seen:
                seen.add(mutant)
                yield name(ast.unparse(tree), mutant), mutant


def name(before, after):
    """Say what is different: the first lines that are not the same, or the line that is gone."""
    old, new = before.splitlines(), after.splitlines()
    while old and new and old[0] == new[0]:
        del old[0], new[0]
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return " | ".join(" ; ".join(line.strip() for line in lines) for lines in (old, new))


def changes(node):
    """Yield the functions that make one fault in a node."""
    if isinstance(node, ast.Compare):
        yield from (set_operator(kind) for kind in COMPARED.get(type(node.ops[0]), []))
    elif isinstance(node, ast.BinOp) and type(node.op) in COMPUTED:
        yield lambda node: setattr(node, "op", COMPUTED[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield lambda node: setattr(node, "op", other())
    elif isinstance(node, ast.Constant):
        yield from (set_value(value) for value in other_values(node.value))
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        yield lambda node: setattr(node, "test", negated(node.test))
    elif isinstance(node, ast.Call):
        yield from (without("args", place) for place in range(len(node.args)))
        yield from (without("keywords", place) for place in range(len(node.keywords)))
    elif isinstance(node, ast.Return) and node.value is not None:
        yield lambda node: setattr(node, "value", ast.Constant(None))
    body = getattr(node, "body", None)
    for place in range(len(body)) if isinstance(body, list) else ():
        yield dropped(place)
        if place and not any(isinstance(part, DEFINES) for part in body[place - 1 : place + 1]):
            yield swapped(place)


def other_values(value):
    """Return what a constant becomes."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    return [f"{value} "] if isinstance(value, str) else []


def negated(test):
    return ast.UnaryOp(ast.Not(), test)


def set_operator(kind):
    return lambda node: node.ops.__setitem__(0, kind())


def set_value(value):
    return lambda node: setattr(node, "value", value)


def without(field, place):
    return lambda node: getattr(node, field).pop(place)


def dropped(place):
    return lambda node: node.body.__setitem__(place, ast.Pass())


def swapped(place):
    def swap(node):
        node.body[place - 1 : place + 1] = reversed(node.body[place - 1 : place + 1])

    return swap
