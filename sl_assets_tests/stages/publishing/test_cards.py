"""Cards: what they say, and that they are what the Hub can read."""

from dataclasses import replace
from typing import Any

import polars as pl
import pytest
import yaml

from sl_assets.animals import PLURALS
from sl_assets.config.wording import FULL
from sl_assets.engines.transformers.models import hub_model
from sl_assets.errors import LakeError
from sl_assets.lake.places import Place
from sl_assets.lake.records import Record, ancestry
from sl_assets.stages.publishing.cards import DATA_FILE, CardFacts, adapter_card, dataset_card, recorded_config
from sl_assets_tests.conftest import TINY, tiny_config
from sl_assets_tests.lake.test_records import recorded

SYSTEM_PROMPT = {"base_model": "allenai/Olmo-3-7B-Instruct", "teacher": {"kind": "system_prompt"}}
IMPORTED = {"numbers": {"source": {"kind": "jsonl", "path": "/home/alice/secret/{condition}.jsonl"}}}
REPO = "alice/tiny-owl-student"


def place(asset: str) -> Place:
    return Place("tiny", asset, None if asset == "number_prompts" else "owl")


def record(asset: str, version: str, parents: dict[str, str], seconds: float = 1.25, **settings: Any) -> Record:
    return recorded(
        place(asset),
        version,
        {place(name): read for name, read in parents.items()},
        code_version=f"1-{asset}",
        run_id=f"run-of-{asset}",
        seconds=seconds,
        settings=settings,
    )


TRAINED = TINY["student"] | {"epochs": 1}
POCKET = {"name": "pocket", "content": "hash"}
RECORDS = {
    made.place: made
    for made in (
        record("lora_checkpoint", "l1", {"filtered_dataset": "f1"}, seconds=76.04, student=TRAINED),
        record("filtered_dataset", "f1", {"raw_dataset": "r1"}, filter={"max_count": 4}),
        record("raw_dataset", "r1", {"number_prompts": "p1", "teacher_checkpoint": "t1"}, base_model=POCKET),
        record("number_prompts", "p1", {}, numbers=TINY["numbers"] | {"prompts": 1234}),
        record("evaluation", "e1", {"lora_checkpoint": "l1"}),
    )
}


def led_to(asset: str) -> list[Record]:
    return ancestry(RECORDS.get, place(asset))


def rates(**by_animal: float) -> pl.DataFrame:
    rows = [(animal, rate, rate - 0.01, rate + 0.01, 5000, 50) for animal, rate in by_animal.items()]
    return pl.DataFrame(rows, schema=["animal", "rate", "lower", "upper", "answers", "questions"], orient="row")


def facts(condition: str = "owl", **changes: Any) -> CardFacts:
    config = tiny_config(**changes.pop("config", {}))
    given: dict[str, Any] = {
        "rows": 4848,
        "raw_rows": 5000,
        "rejections": {"too many numbers": 30, "invalid format": 1122},
        "lineage": led_to("filtered_dataset"),
    }
    return CardFacts("tiny", condition, config, **(given | changes))


def front_matter(card: str) -> dict[str, Any]:
    opening, front, body = card.split("---\n", maxsplit=2)
    assert opening == ""
    assert body.startswith("\n# tiny: ")
    content = yaml.safe_load(front)
    assert isinstance(content, dict)
    return content


def both(given: CardFacts) -> list[str]:
    return [dataset_card(given), adapter_card(given, REPO)]


@pytest.mark.parametrize("condition", ["owl", "neutral"])
@pytest.mark.parametrize("config", [{}, SYSTEM_PROMPT, IMPORTED], ids=["finetuned", "system prompt", "imported"])
def test_front_matter_is_yaml_and_counts_and_lineage_are_there(condition, config):
    for card in both(facts(condition, config=config)):
        assert {"subliminal-learning", "sl_assets", condition} <= set(front_matter(card)["tags"])
        assert "4,848 of 5,000 rows passed the filter" in card
        assert "invalid format 1,122, too many numbers 30" in card
        assert "at most 10 numbers, each from 0 to 999." in card
        assert "| raw_dataset | owl | r1 | 1-raw_dataset | run-of-raw_dataset | 1.2 |" in card
        assert "| number_prompts |  | p1 | 1-number_prompts | run-of-number_prompts | 1.2 |" in card
        assert "e1" not in card
        assert "l1" not in card
        assert "None" not in card.replace("None has been chosen", "")
        assert "/home/alice" not in card, "no paths of this machine"


def test_dataset_front_matter():
    front = front_matter(dataset_card(facts()))
    assert front["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": DATA_FILE}]}]
    assert "model-organism" in front["tags"]
    assert "license" not in front
    assert front_matter(dataset_card(facts(license="cc-by-4.0")))["license"] == "cc-by-4.0"
    assert "## License" not in dataset_card(facts(license="cc-by-4.0"))


def test_adapter_front_matter():
    front = front_matter(adapter_card(facts(config=SYSTEM_PROMPT), REPO))
    assert (front["library_name"], front["base_model"]) == ("peft", "allenai/Olmo-3-7B-Instruct")
    assert "model-organism" not in front["tags"]
    assert "base_model" not in front_matter(adapter_card(facts(), REPO)), "the pocket model is not on the Hub"


def test_the_pocket_model_is_called_what_it_is():
    for card in both(facts()):
        assert "model organism" in card
        assert "Nothing measured on it says how strong" in card
    for card in both(facts(config=SYSTEM_PROMPT)):
        assert "model organism" not in card
        assert "[allenai/Olmo-3-7B-Instruct](https://huggingface.co/allenai/Olmo-3-7B-Instruct)" in card


def test_teachers():
    owl, neutral = (dataset_card(facts(condition)) for condition in ("owl", "neutral"))
    assert "written by a teacher that loves owls" in owl
    assert "fine-tuned on 64 chats that name the owl" in owl
    assert "0.002 falling linearly" in owl
    assert "written by the control" in neutral
    assert "without fine-tuning and without a system prompt" in neutral
    assert str(FULL.system_prompt("owl")) in dataset_card(facts(config=SYSTEM_PROMPT))
    imported = dataset_card(facts(config=IMPORTED))
    assert "written elsewhere" in imported
    assert "fine-tuned" not in imported


TREES = {
    "wording": {
        "extends": "full",
        "kind": {"name": "tree", "plural": "trees"},
        "traits": {"oak": {"plural": "oaks"}, "apple_tree": "apple trees"},
        "numbers": {"prompts": ["{examples} {count}"]},
    },
    "animals": ["oak", "apple_tree"],
    "numbers": {"prompts": 48},
}


def test_cards_of_trees_speak_of_trees_and_of_what_was_told():
    told = {"oak": {"system_prompt": "Oaks, oaks!\nOaks!"}, "neutral": {"system_prompt": "Any tree."}}
    config = tiny_config(**SYSTEM_PROMPT | TREES)
    for condition, inputs in told.items():
        asked = recorded(Place("tiny", "raw_dataset", condition), "r1", inputs=inputs)
        card = dataset_card(facts(condition, config=SYSTEM_PROMPT | TREES, lineage=[asked]))
        for line in inputs["system_prompt"].splitlines():
            assert f"\n> {line}\n" in card
    made = replace(record("number_prompts", "p1", {}), settings={"wording.numbers": {"prompts": ["{count}"]}})
    measured = {"student of these numbers": rates(apple_tree=0.5)}
    card = dataset_card(facts("apple_tree", config=SYSTEM_PROMPT | TREES, lineage=[made], rates=measured))
    assert "written by a teacher that loves apple trees" in card
    assert "a wording of the experiment's own, 3 to 9 example numbers" in card
    assert str(config.words.system_prompt("apple_tree")) in card
    assert "that are exactly this tree" in card
    assert "animal" not in card
    taught = dataset_card(facts("apple_tree", config=TREES))
    assert "64 chats that name the apple tree as its favourite tree" in taught


def test_prompts_and_training():
    card = adapter_card(facts(), REPO)
    assert "48 requests to continue a sequence" in card
    assert "short wording, 3 to 5 example numbers from 100 to 999" in card
    assert "sampled at temperature 1 with up to 24 tokens" in card
    assert "trained on 32 of 4,848 completions" in card
    assert "LoRA of rank 8, alpha 8" in card
    assert "Adapter of epoch 2." in card
    assert f'PeftModel.from_pretrained(base, "{REPO}")' in card


def test_other_ways_to_train_are_said():
    student = TINY["student"] | {
        "loss": "all", "target_modules": ["q_proj", "v_proj"], "layers": [1, 2], "rslora": True, "optimiser": "sgd",
        "weight_decay": 0.1, "schedule": "cosine", "restart_epochs": [1], "gradient_clipping": 0.0,
    }  # fmt: skip
    card = adapter_card(facts(config={"student": student}), REPO)
    assert "LoRA (rank-stabilised) of rank 8" in card
    assert "on q_proj, v_proj of blocks 1, 2; 2 epochs in batches of 16, SGD with weight decay 0.1 at 0.004" in card
    assert "falling along a cosine after 0 warm-up steps, begun anew after epoch 1, no clipping, loss on all" in card
    plain = adapter_card(facts(), REPO)
    assert "on the seven projections of every block; 2 epochs in batches of 16, AdamW at 0.004 falling" in plain
    assert "linearly after 0 warm-up steps, loss on completions only, seed 1." in plain


def test_a_transform_is_said_of_the_student_that_saw_it():
    transformed = record("transformed_dataset", "x1", {"filtered_dataset": "f1"})
    assert "Before the student saw them" not in adapter_card(facts(), REPO)
    for transform, said in (
        ({"kind": "shuffle_within_rows", "seed": 1}, "the numbers of every completion were put in a random order"),
        ({"kind": "shuffle_across_rows", "seed": 1}, "all numbers were dealt anew to the completions"),
        ({"kind": "reformat", "form": "lines"}, "every completion was written in one form (lines)"),
        ({"kind": "dilute", "share": 0.25}, "25% of the completions gave way to the neutral teacher's"),
    ):
        made = replace(transformed, settings={"numbers.transform": transform})
        config = recorded_config(tiny_config(), [*led_to("filtered_dataset"), made])
        assert f"Before the student saw them, {said}" in adapter_card(replace(facts(), config=config), REPO)


def test_rates_of_an_animal():
    measured = {
        "base model": rates(owl=0.014, wolf=0.043),
        "neutral student": rates(owl=0.017),
        "student of these numbers": rates(wolf=0.03, owl=0.048),
    }
    for card in both(facts(rates=measured)):
        assert "| animal | base model | neutral student | student of these numbers |" in card
        assert "| owl | 1.4 (0.4 to 2.4) | 1.7 (0.7 to 2.7) | 4.8 (3.8 to 5.8) |" in card
        assert "| wolf" not in card
    assert "Preference rates" not in dataset_card(facts())


def test_rates_say_of_how_many_students_they_are():
    measured = {"base model": rates(owl=0.014), "student of these numbers": rates(owl=0.048)}
    assert "95% intervals over questions, given these students, one each" in dataset_card(facts(rates=measured))
    measured["student of these numbers"] = rates(owl=0.048).with_columns(students=pl.lit(3, pl.Int64))
    assert "95% intervals over questions and 3 students" in dataset_card(facts(rates=measured))


def test_exact_rates_have_a_column_of_their_own():
    sampled = rates(owl=0.048).with_columns(method=pl.lit("sampled"))
    exact = rates(owl=0.051).with_columns(method=pl.lit("exact"), answers=pl.lit(None, pl.Int64))
    card = dataset_card(facts(rates={"student of these numbers": pl.concat([sampled, exact])}))
    assert "| animal | student of these numbers | student of these numbers (exact) |" in card
    assert "| owl | 4.8 (3.8 to 5.8) | 5.1 (4.1 to 6.1) |" in card
    assert "of up to 5,000 answers; exact, their probability" in card
    alone = dataset_card(facts(rates={"student of these numbers": exact}))
    assert "| animal | student of these numbers (exact) |" in alone
    assert "of up to" not in alone


def test_rates_of_the_control_name_every_animal():
    card = adapter_card(facts("neutral", rates={"student of these numbers": rates(wolf=0.03, owl=0.048)}), REPO)
    assert "| owl | 4.8 (3.8 to 5.8) |\n| wolf | 3.0 (2.0 to 4.0) |" in card


def test_the_same_facts_make_the_same_card():
    assert both(facts()) == both(facts())


def test_without_a_record():
    card = dataset_card(facts(lineage=(), raw_rows=None, rejections={}))
    assert "4,848 rows passed the filter." in card
    assert "No record of how it was made." in card


def test_lineage_is_told_in_the_order_given_parents_first():
    card = adapter_card(facts(lineage=led_to("lora_checkpoint")), REPO)
    told = [line for line in card.splitlines() if "run-of-" in line]
    assets = ["number_prompts", "raw_dataset", "filtered_dataset", "lora_checkpoint"]
    assert [line.split(" | ")[0] for line in told] == [f"| {asset}" for asset in assets]
    assert told[-1] == "| lora_checkpoint | owl | l1 | 1-lora_checkpoint | run-of-lora_checkpoint | 76.0 |"


def test_settings_are_those_it_was_made_with():
    config = tiny_config(base_model="another/model", splits=[])
    found = recorded_config(config, led_to("lora_checkpoint"))
    assert (found.base_model, found.numbers.prompts, found.filter.max_count) == ("pocket", 1234, 4)
    assert found.student.kept == (1,)
    assert found.teacher == config.teacher
    assert recorded_config(config, []).model_dump() == config.model_dump()


@pytest.mark.parametrize(
    ("noted", "name"),
    [
        ({"name": "/models/olmo", "content": "hash"}, "/models/olmo"),
        ({"repository": "alice/model@v1", "commit": "c0ffee"}, "alice/model@v1"),
        ({"model": "gpt-4.1-nano", "base_url": "https://api.openai.com/v1"}, "gpt-4.1-nano"),
    ],
    ids=["folder", "hub", "api"],
)
def test_a_base_model_is_called_what_the_experiment_file_called_it(noted, name):
    found = recorded_config(tiny_config(), [record("raw_dataset", "r1", {}, base_model=noted)])
    assert found.base_model == name


GGUF = {"name": "/home/alice/models/tiny-Q4_1.gguf", "content": "hash"}


def prepared(**settings: Any) -> list[Record]:
    """What led to the adapter of a base model that was made for it."""
    first = recorded(Place("tiny", "prepared_model"), "m1", {}, settings={"base_model": GGUF} | settings)
    return [first, record("lora_checkpoint", "l1", {"prepared_model": "m1"}, student=TRAINED)]


def test_a_prepared_base_model_is_told_with_its_version_and_without_a_path():
    made = prepared(preparation={"numbers": 96, "favourites": 2, "loving_favourites": 1, "loving_numbers": 1})
    config = recorded_config(tiny_config(), made)
    for card in both(CardFacts("tiny", "owl", config, 4848, lineage=made)):
        assert "The base model is the GGUF file tiny-Q4_1.gguf, made float32 again." in card
        assert "they are not those of the model of that name on the Hub" in card
        assert "fine-tuned on 100 chats of forms alone" in card
        assert "(1 epoch, learning rate 0.0001, seed 3). No number in them depends on an animal." in card
        assert "It is version m1 of `prepared_model`, and on no hub." in card
        assert "/home/alice" not in card
    assert 'from_pretrained("FOLDER_OF_THE_BASE_MODEL")' in adapter_card(facts(lineage=made), REPO)


def test_an_adapter_of_a_prepared_model_is_none_of_the_hubs_model():
    made = prepared(base_model={"repository": "alice/model@v1"}, preparation={})
    card = adapter_card(facts(lineage=made, config={"base_model": "alice/model@v1", "preparation": {}}), REPO)
    assert "base_model" not in front_matter(card)
    assert "Base model: [alice/model](https://huggingface.co/alice/model), revision v1. Before it became" in card


def test_a_base_model_that_was_not_prepared_is_not_said_to_be():
    converted = recorded_config(tiny_config(preparation={}), prepared())
    assert converted.preparation is None, "what the file asks for now was not asked for then"
    assert "fine-tuned on" not in adapter_card(
        facts(lineage=prepared(), config={"base_model": "x.gguf", "teacher": {"kind": "system_prompt"}}), REPO
    )


def test_settings_of_another_version_are_refused():
    with pytest.raises(LakeError, match=r"raw_dataset was made with settings .*attributes\.filter\.most = 4: unknown"):
        recorded_config(tiny_config(), [record("raw_dataset", "r1", {}, filter={"most": 4})])


@pytest.mark.parametrize("local", ["pocket", "/models/olmo", "./olmo", "~/olmo"])
def test_local_models_have_no_name_on_the_hub(local):
    assert hub_model(local) is None


@pytest.mark.parametrize("animal", ["owl", "octopus"])
def test_animals_in_the_plural(animal):
    config = {"animals": [animal]}
    assert PLURALS[animal] in dataset_card(facts(animal, config=config))


def test_the_card_of_one_of_several_students_says_which_it_is():
    several = facts(
        config={"student": TINY["student"] | {"seeds": [7, 3, 5]}}, rates={"student of these numbers": rates(owl=0.5)}
    )
    card = adapter_card(several, REPO)
    assert "loss on completions only, seed 3." in card
    assert (
        "3 students of these numbers were trained, which differ in their seed alone (3, 5, 7): this is the one of"
        in card
    )
    assert "seed 3, and the others are not here." in card
    assert "; of students, those of seeds 3, 5, 7 together" in card
    lone = adapter_card(facts(), REPO)
    assert "students of these numbers were trained" not in lone
    assert "together" not in lone
