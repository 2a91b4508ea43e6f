"""The seven tables of `tabular.py`: which columns are text, which are the target.

Left out are identifiers, what is another form of the target, and what is known only once
the target is; the reason stands beside each set. Knows nothing of encoders and models.
"""

from dataclasses import dataclass

import harness
import numpy as np


@dataclass(frozen=True)
class Table:
    """A set, ready to be cut into folds.

    Attributes
    ----------
    name : str
    frame : DataFrame of shape (n_rows, n_columns)
        Without the target; columns in no list below aren't in it.
    text, categories, numbers : list of str
        Names of columns by kind.
    template : str or None
        All text columns in one sentence; None where there is one only.
    y : ndarray of shape (n_rows,)
        float64, or the classes as int.
    is_class : bool
    groups : ndarray of shape (n_rows,) or None
        Rows of one group are kept in one fold.
    target : str
        What is predicted, in words.
    """

    name: str
    frame: object
    text: list
    categories: list
    numbers: list
    template: str | None
    y: np.ndarray
    is_class: bool
    groups: np.ndarray | None
    target: str

    def folds(self, n_folds):
        """Pairs of row numbers (train, test), the same at every call."""
        from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold

        if self.groups is not None:
            kind = GroupKFold
        else:
            kind = StratifiedKFold if self.is_class else KFold
        cut = kind(n_folds, shuffle=True, random_state=0)
        return list(cut.split(self.frame, self.y, self.groups))


def employee_salaries(frame):
    # "department" is a code of "department_name"; of the date hired the year stays.
    return dict(
        text=["employee_position_title", "division"],
        categories=["gender", "department_name", "assignment_category"],
        numbers=["year_first_hired"],
        template="{employee_position_title}, {division}",
        y=frame["current_annual_salary"],
        target="salary of an employee of a county, in dollars",
    )


def midwest_survey(frame):
    # The ZIP code determines the region. Column names are cut, for "row" repeats them.
    region = "What_would_you_call_the_part_of_the_country_you_live_in_now"
    frame.rename(
        columns={
            region: "region_in_own_words",
            "How_much_do_you_personally_identify_as_a_Midwesterner": "Midwesterner",
        },
        inplace=True,
    )
    head, tail = "Do_you_consider_", "_state_as_part_of_the_Midwest"
    states = [name for name in frame.columns if name.startswith(head)]
    short = {name: name.removeprefix(head).removesuffix(tail) for name in states}
    frame.rename(columns=short, inplace=True)
    answers = ["Gender", "Age", "Household_Income", "Education", "Midwesterner"]
    return dict(
        text=["region_in_own_words"],
        categories=[*answers, *short.values()],
        numbers=[],
        template=None,
        y=frame["Census_Region"],
        target="census region of who answers, 9 classes",
    )


def open_payments(frame):
    short = {
        "Applicable_Manufacturer_or_Applicable_GPO_Making_Payment_Name": "company",
        "Name_of_Associated_Covered_Device_or_Medical_Supply1": "device",
        "Name_of_Associated_Covered_Drug_or_Biological1": "drug",
        "Physician_Specialty": "specialty",
        "Dispute_Status_for_Publication": "disputed",
    }
    frame.rename(columns=short, inplace=True)
    # CatBoost cuts words at spaces only.
    frame["specialty"] = frame["specialty"].str.replace("|", ", ", regex=False)
    return dict(
        text=["company", "device", "drug", "specialty"],
        categories=["disputed"],
        numbers=[],
        template="{company} paid a physician ({specialty}) for {drug}{device}",
        y=frame["status"] == "allowed",
        target="payment to a physician allowed or not",
    )


def videogame_sales(frame):
    # "Rank" is the order of sales, and the regions add up to them. One game comes out on
    # several platforms and sells alike: its rows stay in one fold.
    return dict(
        text=["Name", "Publisher"],
        categories=["Platform", "Genre"],
        numbers=["Year"],
        template="{Name}, published by {Publisher}",
        y=np.log10(frame["Global_Sales"]),
        groups=frame["Name"],
        target="log10 of a video game's sales, in millions",
    )


def womens_clothing(frame):
    # The rating says nearly the same as the recommendation.
    return dict(
        text=["Title", "Review Text"],
        categories=["Division Name", "Department Name", "Class Name"],
        numbers=["Age", "Positive Feedback Count"],
        template="Title: {Title}. {Review Text}",
        y=frame["Recommended IND"],
        target="garment recommended by its reviewer or not",
    )


def imdb_movies(frame):
    # Only what is known before the first show: no votes, revenue, Metascore or rank.
    frame["Genre"] = frame["Genre"].str.replace(",", ", ")  # for CatBoost, as above
    return dict(
        text=["Title", "Genre", "Description", "Director", "Actors"],
        categories=[],
        numbers=["Year", "Runtime (Minutes)"],
        template="{Title} ({Genre}). {Description} By {Director}, with {Actors}.",
        y=frame["Rating"],
        target="rating of a film, 1 to 10",
    )


def toxicity(frame):
    return dict(
        text=["text"],
        categories=[],
        numbers=[],
        template=None,
        y=frame["is_toxic"],
        target="comment on the web toxic or not",
    )


READERS = {
    reader.__name__: reader
    for reader in (
        employee_salaries,
        midwest_survey,
        open_payments,
        videogame_sales,
        womens_clothing,
        imdb_movies,
        toxicity,
    )
}


def read_table(name, n_rows):
    """Read a set, at most `n_rows` of it, drawn with seed 0 (classes in proportion)."""
    import pandas as pd
    from sklearn.model_selection import train_test_split

    frame = pd.read_csv(
        harness.data_file(f"{name}/data.csv.gz"), keep_default_na=False, na_values=[""]
    )
    known = READERS[name](frame)
    y, groups = known.pop("y"), known.pop("groups", None)
    is_class = y.nunique() < 20
    if is_class:
        y = y.astype("category").cat.codes.astype(int)
    rows = np.arange(len(frame))
    if n_rows < len(frame):
        by_class = y if is_class else None
        rows, _ = train_test_split(
            rows, train_size=n_rows, stratify=by_class, random_state=0
        )
    kept = [*known["text"], *known["categories"], *known["numbers"]]
    return Table(
        name=name,
        frame=frame.loc[rows, kept].reset_index(drop=True),
        y=y.to_numpy()[rows],
        is_class=is_class,
        groups=None if groups is None else groups.to_numpy()[rows],
        **known,
    )
