"""Cards of the recipes: picture, scale, optimizer, notes and source."""

from docs.gallery import shown_steps
from lrsched import Schedule, recipes
from lrsched.pictures import curves


def section() -> str:
    """Return the Markdown of all recipes, by family."""
    lines: list[str] = []
    family = ""
    for row in recipes.listing():
        if row["family"] != family:
            family = row["family"]
            lines += ["", f"## {family}", ""]
        lines += [f"### {row['name']}", "", *_card(recipes.get(row["name"])())]
    return "\n".join(lines)


def table() -> str:
    """Return a table of all recipes, without pictures."""
    rows = [
        f"| {row['family']} | `{row['name']}` | `{next(iter(recipe.schedules.values()))}` |"
        for row in recipes.listing()
        for recipe in [recipes.get(row["name"])()]
    ]
    heads = ["| family | recipe | schedule of its first group |", "| --- | --- | --- |"]
    return "\n".join([*heads, *rows])


def _card(recipe: recipes.Recipe) -> list[str]:
    group, schedule = next(iter(recipe.schedules.items()))
    figure = f"<figure>{_picture(group, schedule)}</figure>"
    return [figure, "", "```text", str(recipe), "```", ""]


def _picture(group: str, schedule: Schedule) -> str:
    at, values = curves.sample(schedule, shown_steps(schedule), count=240)
    return curves.svg(at, values, group, height=80)
