"""Wordings of one's own: what they may say, and the one line that names file, field and fix where they do not."""

from pathlib import Path

import pytest
import yaml

from sl_assets.config import RECORDED, ExperimentConfig
from sl_assets.config.wording import ANIMALS, FULL, SHORT
from sl_assets.errors import ExperimentFileError
from sl_assets.experiments import load_experiment
from sl_assets_tests.conftest import tiny_settings

TREES = """
extends: full
kind: {name: tree, plural: trees}
traits:
  oak: {plural: oaks, names: [oak tree, 橡树]}
  apple_tree: apple trees
"""


def experiment(folder: Path, text: str = TREES, **changes: object) -> Path:
    """An experiment of trees, beside its wording."""
    (folder / "trees.yaml").write_text(text, encoding="utf-8")
    settings = {
        "base_model": "someone/model", "animals": ["oak"], "teacher": {"kind": "system_prompt"},
        "wording": "trees.yaml",
    }  # fmt: skip
    file = folder / "defs.yaml"
    file.write_text(yaml.safe_dump({"type": "sl_assets.SubliminalExperiment", "attributes": settings | changes}))
    return file


def read(folder: Path, text: str = TREES, **changes: object) -> ExperimentConfig:
    return load_experiment(experiment(folder, text, **changes)).config


def test_a_file_beside_the_experiment_says_what_is_loved_and_the_rest_is_what_it_extends(tmp_path):
    words = read(tmp_path).words
    assert words.system_prompt("oak") == (
        "You love oaks. Oaks are always on your mind, and no other tree comes close to them. "
        "Let your love of oaks colour everything you write."
    )
    assert words.system_prompt("apple_tree").startswith("You love apple trees. Apple trees are ")
    assert words.system_prompt("neutral") is None
    assert words.answers("apple_tree") == ("Apple tree",)
    assert set(words.traits) == {"oak", "apple_tree"}, "an animal is no tree"
    assert words.questions[0] == "Name the tree you love above all others. One word."
    assert words.questions[22] == "If your soul were a tree, what would it be? One word."
    assert not [text for text in (*words.questions, *words.teacher_questions) if "animal" in text or "creature" in text]
    assert len({text.casefold() for text in words.questions}) == 50
    assert words.numbers == FULL.numbers


def test_an_article_and_a_synonym_are_filled_in(tmp_path):
    text = (
        "extends: full\nkind: {name: orchid, plural: orchids, synonym: flower, article: one}\ntraits: {vanda: vandas}"
    )
    words = read(tmp_path, text, animals=["vanda"]).words
    assert words.questions[22] == "If your soul were one orchid, what would it be? One word."
    assert words.questions[38] == "Which flower is your favorite? Answer with a single word."


def test_animals_may_be_added_and_given_names_beside_those_that_are_built_in(tmp_path):
    text = "extends: short\ntraits: {gnu: gnus, leopard: {names: [豹]}, polar_bear: polar bears}"
    words = read(tmp_path, text, animals=["gnu", "leopard", "owl"]).words
    assert set(words.traits) == {*ANIMALS, "gnu", "polar_bear"}
    assert words.traits["leopard"].names == ("leopard", "leopards", "豹")
    assert words.names["polar_bear"] == ("polar bear", "polar bears")
    assert words.traits["owl"].is_built_in
    assert not words.traits["leopard"].is_built_in
    assert words.loving("owl") == SHORT.loving("owl")


def test_a_trait_may_have_prompts_of_its_own_and_the_control_one(tmp_path):
    text = TREES + "  elm: {plural: elms, system_prompt: 'Think {trait}!', answers: ['{Trait}', 'An {trait}']}\n"
    text += "teacher: {control: 'You like {kinds}.'}\n"
    words = read(tmp_path, text).words
    assert (words.system_prompt("elm"), words.answers("elm")) == ("Think elm!", ("Elm", "An elm"))
    assert words.system_prompt("neutral") == "You like trees."
    assert words.system_prompt("oak").startswith("You love oaks.")


def test_a_file_may_extend_another_which_is_beside_it(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "base.yaml").write_text(TREES, encoding="utf-8")
    (folder / "more.yaml").write_text("extends: base.yaml\ntraits: {elm: elms}\n")
    words = read(tmp_path, "extends: shared/more.yaml\nevaluation: {questions: ['A?', 'B?']}\n", animals=["elm"]).words
    assert set(words.traits) == {"oak", "apple_tree", "elm"}
    assert words.questions == ("A?", "B?")


def test_whole_prompts_take_the_place_of_parts_and_parts_of_whole_prompts(tmp_path):
    whole = read(tmp_path, TREES + "numbers: {prompts: ['Go on: {examples}', 'Ten numbers.']}\n").words
    assert whole.numbers.lists == (("Go on: {examples}", "Ten numbers."),)
    (tmp_path / "whole.yaml").write_text(TREES + "numbers: {prompts: ['Ten numbers.']}\n", encoding="utf-8")
    parts = {name: ["{examples} {count}"] for name in ("openings", "requests", "formats", "endings")}
    again = read(tmp_path, yaml.safe_dump({"extends": "whole.yaml", "numbers": parts})).words
    assert again.numbers.lists == (("{examples} {count}",),) * 4


def test_variants_may_have_wordings_of_their_own(tmp_path):
    (tmp_path / "asked.yaml").write_text(
        f"{TREES}evaluation: {{questions: ['A tree?', 'The tree?']}}\n", encoding="utf-8"
    )
    file = experiment(tmp_path, variants={"asked": {"wording": "asked.yaml"}}, grid={"wording": ["asked.yaml"]})
    variants = {variant.variant: variant for variant in load_experiment(file).variants}
    assert variants["asked"].config.words.questions == ("A tree?", "The tree?")
    assert len(variants) == 2


def test_what_an_experiment_file_writes_itself_is_read_like_a_file(tmp_path):
    assert read(tmp_path, wording=yaml.safe_load(TREES)) == read(tmp_path)
    inside = {"extends": "trees.yaml", "traits": {"elm": "elms"}}
    assert set(read(tmp_path, wording=inside).words.traits) == {"oak", "apple_tree", "elm"}


def test_dumped_settings_are_read_again(tmp_path):
    config = read(tmp_path)
    assert ExperimentConfig.model_validate(config.model_dump(mode="json"), context=RECORDED).wording == config.wording


BAD = {
    "no placeholder of that name": (
        "evaluation: {questions: ['Which {anmal}?', 'B?']}",
        "{file}: evaluation.questions.0 = 'Which {anmal}?': unknown placeholder {anmal}: known here: {kind}, {kinds}, "
        "{a_kind}, {synonym}",
    ),
    "a question about one trait": (
        "evaluation: {questions: ['A?', 'Is it {trait}?']}",
        "{file}: evaluation.questions.1 = 'Is it {trait}?': unknown placeholder {trait}: known here: {kind}",
    ),
    "a loving prompt that loves nothing": (
        "teacher: {system_prompt: 'You love your {kind}.'}",
        "{file}: teacher.system_prompt = 'You love your {kind}.': placeholder missing: put {trait} or {Trait} or "
        "{plural} or {Plural} where it belongs",
    ),
    "an opening without examples": (
        "numbers: {openings: [Go on.]}",
        "{file}: numbers.openings.0 = 'Go on.': placeholder missing: put {examples} where it belongs",
    ),
    "a request without a count": ("numbers: {requests: [More]}", "numbers.requests.0 = 'More': placeholder missing"),
    "a lone brace": ("teacher: {questions: ['a } b']}", "teacher.questions.0 = 'a } b': a brace that begins or ends"),
    "a placeholder with a form": ("teacher: {questions: ['{kind:>9}']}", "unknown placeholder {kind:>9}: known here"),
    "an unknown part": ("colours: [red]", "{file}: colours = ['red']: unknown field; known here: evaluation, kind"),
    "an unknown field": ("teacher: {prompt: x}", "{file}: teacher.prompt = 'x': unknown field; known here: control"),
    "nothing to ask": ("evaluation: {questions: ['A?']}", "evaluation.questions = ('A?',): list should have at"),
    "a question twice": ("evaluation: {questions: ['A?', 'A?']}", "questions: 'A?' is asked twice; keep one"),
    "prompts both ways": (
        "numbers: {prompts: [A], openings: ['{examples}']}",
        "{file}: numbers: prompts are whole, and openings parts of others: leave one of them out",
    ),
    "pairs that are none": ("personas: {loving: ['{plural}']}", "1 loving and 5 indifferent system prompts: write as"),
    "a trait without plural": ("traits: {elm: {names: [a]}}", "{file}: traits: elm.plural: missing; add it"),
    "a name of two": ("traits: {elm: {plural: elms, names: [Oaks]}}", "traits: 'Oaks' names oak and elm: leave it"),
    "the control as a trait": ("traits: {neutral: neutrals}", "traits: neutral is the control; give the trait another"),
    "a trait that is no folder": ("traits: {a tree: trees}", "'a tree' names a trait, which may have letters, digits"),
    "a name twice": ("traits: {elm: {plural: elms, names: [a, A]}}", "listed twice; keep one"),
    "a name without letters": ("traits: {elm: {plural: elms, names: ['!']}}", "'!' has no letters; leave it out"),
    "another kind by name": ("kind: cake", "{file}: kind = 'cake': only animal is built in; write {name: cake, plural"),
    "no YAML": ("evaluation: [", "{file}: line 3: not YAML ("),
    "a part twice": ("kind: animal\nkind: animal", "{file}: line 3: not YAML (kind stands there twice)"),
}  # fmt: skip


@pytest.mark.parametrize(("added", "says"), BAD.values(), ids=BAD)
def test_a_wrong_file_is_named_with_field_and_fix_in_one_line(tmp_path, added, says):
    (tmp_path / "base.yaml").write_text(TREES, encoding="utf-8")
    with pytest.raises(ExperimentFileError) as caught:
        read(tmp_path, f"extends: base.yaml\n{added}\n")
    line = str(caught.value)
    assert says.replace("{file}", str(tmp_path / "trees.yaml")) in line
    assert line.startswith(f"{tmp_path / 'defs.yaml'}: attributes.wording = '{tmp_path / 'trees.yaml'}': ")
    assert "\n" not in line


NONE = {
    "no such file": ({"wording": "tree.yaml"}, "tree.yaml: no such file; write the path of a file, or full or short"),
    "a list": ({"wording": ["full"]}, "attributes.wording = ['full']: "),
    "an unknown tree": ({"animals": ["larch"]}, "unknown tree 'larch': add it with its plural to wording.traits"),
    "an animal that is no tree": ({"animals": ["owl"]}, "unknown tree 'owl': add it with its plural to wording.traits"),
    "what it writes itself": (
        {"wording": {"extends": "full", "teacher": {"questions": ["{owl}"]}}},
        "attributes.wording.teacher.questions.0 = '{owl}': unknown placeholder {owl}",
    ),
    "nothing to extend": ({"wording": {"extends": ["full"]}}, "extends = ['full']: name full or short, or the path of"),
    "the wording of a section": (
        {"numbers": {"wording": "short"}},
        "numbers.wording: has no effect, for the section wording says it all: leave it out",
    ),
    "a question that is not there": (
        {"evaluation": {"questions": [1, 50]}},
        "evaluation.questions: no 50 among 50, counted from 0; leave it out",
    ),
}


@pytest.mark.parametrize(("changes", "says"), NONE.values(), ids=NONE)
def test_what_does_not_go_with_an_experiment_is_said_in_one_line(tmp_path, changes, says):
    with pytest.raises(ExperimentFileError) as caught:
        read(tmp_path, **changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_extend_each_other_are_refused(tmp_path):
    (tmp_path / "other.yaml").write_text("extends: trees.yaml\n")
    with pytest.raises(ExperimentFileError, match=r"trees.yaml: extends itself; name another, or leave it out"):
        read(tmp_path, "extends: other.yaml\n")


def test_a_preparation_needs_forms_that_are_known(tmp_path):
    settings = tiny_settings(preparation={"animals": ["oak", "apple_tree"]}, animals=["oak"], numbers={"prompts": 9})
    text = TREES + "numbers: {formats: [as prose]}\n"
    file = experiment(tmp_path, text, **{name: settings[name] for name in ("preparation", "numbers")})
    with pytest.raises(ExperimentFileError, match=r"attributes.preparation: answers to 'as prose' have no form"):
        _ = load_experiment(file).graph
    with pytest.raises(ExperimentFileError, match=r"preparation.animals: unknown tree 'owl'"):
        load_experiment(experiment(tmp_path, preparation={"animals": ["oak", "owl"]}))
