"""What an experiment file may say: the schema of ``defs/<experiment>/defs.yaml``, a module for each stage."""

from sl_assets.config.checks import CheckSettings
from sl_assets.config.engines import OpenAISettings, SamplerSettings
from sl_assets.config.evaluation import EvaluationSettings, Measure, Method
from sl_assets.config.experiment import RECORDED, SHAPES, ExperimentConfig
from sl_assets.config.hub import HubAdapters, HubFiles, HubSettings, HubSource, RowFields
from sl_assets.config.numbers import (
    ExperimentSource,
    FilterSettings,
    FinetunedTeacher,
    GenerateSource,
    JsonlSource,
    NumbersSettings,
    SystemPromptTeacher,
)
from sl_assets.config.personas import ModelJudge, PersonaSettings, RuleJudge, SteeringSettings
from sl_assets.config.preparation import PreparationSettings
from sl_assets.config.project import PROJECT
from sl_assets.config.projections import ProjectionSettings
from sl_assets.config.section import Section, StateKind
from sl_assets.config.students import StudentSettings
from sl_assets.config.training import TrainingSettings
from sl_assets.config.transforms import Dilute, Reformat, ShuffleAcrossRows, ShuffleWithinRows, Transform

__all__ = [
    "PROJECT",
    "RECORDED",
    "SHAPES",
    "CheckSettings",
    "Dilute",
    "EvaluationSettings",
    "ExperimentConfig",
    "ExperimentSource",
    "FilterSettings",
    "FinetunedTeacher",
    "GenerateSource",
    "HubAdapters",
    "HubFiles",
    "HubSettings",
    "HubSource",
    "JsonlSource",
    "Measure",
    "Method",
    "ModelJudge",
    "NumbersSettings",
    "OpenAISettings",
    "PersonaSettings",
    "PreparationSettings",
    "ProjectionSettings",
    "Reformat",
    "RowFields",
    "RuleJudge",
    "SamplerSettings",
    "Section",
    "ShuffleAcrossRows",
    "ShuffleWithinRows",
    "StateKind",
    "SteeringSettings",
    "StudentSettings",
    "SystemPromptTeacher",
    "TrainingSettings",
    "Transform",
]
