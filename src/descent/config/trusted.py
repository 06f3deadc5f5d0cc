"""What may be built from a directory: names, the place of each, and the arguments each may take.

A run directory may come from anybody. Its config builds only what stands here, only where it
belongs, and only with arguments that compute: where a run reads and writes is not for its config to
say, so no path is among them but that of a table. `trust=[package]` adds all of a package, for
whoever wrote it or knows who did.

`tests/config/test_config.py` holds every `_target_` of `conf/` against these lists: a new one of
ours stands in both.
"""

from __future__ import annotations

import re

Names = dict[str, frozenset[str]]
"""Arguments by full name."""


def _names(package: str, text: str) -> Names:
    """Read lines such as `LayerNorm RMSNorm: eps`; one without a colon goes on with the last."""
    found: Names = {}
    names: list[str] = []
    for line in text.strip().splitlines():
        head, colon, arguments = line.rpartition(":")
        if colon:
            names = [f"{package}.{name}" for name in head.split()]
        found |= {name: found.get(name, frozenset()) | {*arguments.split()} for name in names}
    return found


SOURCES = _names(
    "descent.data",
    """
    bundled.digits bundled.breast_cancer bundled.wine bundled.iris bundled.diabetes:
    line.line: rows slope intercept noise start end seed
    line.three_points:
    landscape.landscape: name rows noise seed
    own_module.rows: datamodule task classes features target
    table.table: path target features exclude texts task missing high_cardinality dates group time
        weight reading
    """,
)

LEARNERS = _names("descent.engine", "mixup.Mixup: alpha")

LAYERS = _names(
    "torch.nn",
    """
    Sequential:
    Identity LogSigmoid Sigmoid Softmax2d Softsign Tanh Tanhshrink:
    ReLU ReLU6 SELU SiLU Mish Hardsigmoid Hardswish: inplace
    ELU CELU: alpha inplace
    LeakyReLU: negative_slope inplace
    RReLU: lower upper inplace
    PReLU: num_parameters init
    GELU: approximate
    GLU Softmax LogSoftmax Softmin: dim
    Hardshrink Softshrink: lambd
    Hardtanh: min_val max_val inplace
    Softplus: beta threshold
    Threshold: threshold value inplace
    Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout: p inplace
    Flatten: start_dim end_dim
    Unflatten: dim unflattened_size
    Linear: in_features out_features bias
    Bilinear: in1_features in2_features out_features bias
    LazyLinear: out_features bias
    BatchNorm1d BatchNorm2d BatchNorm3d: num_features eps momentum affine track_running_stats
    InstanceNorm1d InstanceNorm2d InstanceNorm3d: num_features eps momentum affine
        track_running_stats
    LayerNorm: normalized_shape eps elementwise_affine bias
    RMSNorm: normalized_shape eps elementwise_affine
    GroupNorm: num_groups num_channels eps affine
    LocalResponseNorm: size alpha beta k
    Conv1d Conv2d Conv3d: in_channels out_channels kernel_size stride padding dilation groups bias
        padding_mode
    ConvTranspose1d ConvTranspose2d ConvTranspose3d: in_channels out_channels kernel_size stride
        padding output_padding groups bias dilation padding_mode
    MaxPool1d MaxPool2d MaxPool3d: kernel_size stride padding dilation ceil_mode
    AvgPool1d AvgPool2d AvgPool3d: kernel_size stride padding ceil_mode count_include_pad
    LPPool1d LPPool2d LPPool3d: norm_type kernel_size stride ceil_mode
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d: output_size
    AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d: output_size
    ConstantPad1d ConstantPad2d ConstantPad3d: padding value
    ReflectionPad1d ReflectionPad2d ReflectionPad3d ZeroPad1d ZeroPad2d ZeroPad3d: padding
    ReplicationPad1d ReplicationPad2d ReplicationPad3d: padding
    CircularPad1d CircularPad2d CircularPad3d: padding
    PixelShuffle: upscale_factor
    PixelUnshuffle: downscale_factor
    ChannelShuffle: groups
    Upsample: size scale_factor mode align_corners
    Unfold: kernel_size dilation padding stride
    Embedding: num_embeddings embedding_dim padding_idx max_norm norm_type
    """,
)

MODELS = LAYERS | _names(
    "descent.models",
    """
    linear.Linear: in_features out_features bias init
    mlp.MLP: in_features out_features hidden activation dropout init
    point.Point: landscape start
    """,
)

OPTIMIZERS = _names(
    "torch.optim",
    """
    SGD: lr momentum dampening weight_decay nesterov maximize foreach differentiable fused
    Adam: lr betas eps weight_decay amsgrad foreach maximize capturable differentiable fused
        decoupled_weight_decay
    AdamW: lr betas eps weight_decay amsgrad maximize foreach capturable differentiable fused
    NAdam: lr betas eps weight_decay momentum_decay decoupled_weight_decay foreach maximize
        capturable differentiable
    RAdam: lr betas eps weight_decay decoupled_weight_decay foreach maximize capturable
        differentiable
    Adamax: lr betas eps weight_decay foreach maximize differentiable capturable
    Adagrad: lr lr_decay weight_decay initial_accumulator_value eps foreach maximize
        differentiable fused
    Adadelta: lr rho eps weight_decay foreach capturable maximize differentiable
    Adafactor: lr beta2_decay eps d weight_decay foreach maximize
    RMSprop: lr alpha eps weight_decay momentum centered capturable foreach maximize differentiable
    Rprop: lr etas step_sizes capturable foreach maximize differentiable
    ASGD: lr lambd alpha t0 weight_decay foreach maximize differentiable capturable
    Muon: lr weight_decay momentum nesterov ns_coefficients eps ns_steps adjust_lr_fn
    LBFGS: lr max_iter max_eval tolerance_grad tolerance_change history_size line_search_fn
    """,
)

LOSSES = _names(
    "descent.engine.losses",
    """
    Usual MSE HalfMSE MAE:
    Huber: delta
    Quantile: quantile
    CrossEntropy: label_smoothing
    Focal: gamma
    """,
) | _names(
    "torch.nn",
    """
    MSELoss L1Loss SoftMarginLoss BCEWithLogitsLoss MultiLabelSoftMarginLoss: reduction
    HuberLoss: delta reduction
    SmoothL1Loss: beta reduction
    CrossEntropyLoss: label_smoothing reduction
    MultiMarginLoss: p margin reduction
    PoissonNLLLoss: log_input full eps reduction
    HingeEmbeddingLoss: margin reduction
    """,
)

SCHEDULES = _names(
    "torch.optim.lr_scheduler",
    """
    ConstantLR: factor total_iters last_epoch
    LinearLR: start_factor end_factor total_iters last_epoch
    StepLR: step_size gamma last_epoch
    MultiStepLR: milestones gamma last_epoch
    ExponentialLR: gamma last_epoch
    PolynomialLR: total_iters power last_epoch
    CosineAnnealingLR: T_max eta_min last_epoch
    CosineAnnealingWarmRestarts: T_0 T_mult eta_min last_epoch
    CyclicLR: base_lr max_lr step_size_up step_size_down mode gamma scale_mode cycle_momentum
        base_momentum max_momentum last_epoch
    OneCycleLR: max_lr total_steps epochs steps_per_epoch pct_start anneal_strategy cycle_momentum
        base_momentum max_momentum div_factor final_div_factor three_phase last_epoch
    ReduceLROnPlateau: mode factor patience threshold threshold_mode cooldown min_lr eps
    """,
) | _names(
    "descent.engine.schedules",
    """
    inverse_time: decay
    warmup_cosine: total warmup final
    """,
)

CALLBACKS = _names(
    "descent.callbacks",
    """
    full_loss.FullLoss: every_n_epochs every_n_steps target
    recorder.Recorder: grad_norm_every points
    path.Path: points most_mib
    divergence.Divergence: factor checks
    checkpoint.Checkpoint: every_seconds monitor mode
    early_stopping.EarlyStopping: monitor mode patience min_delta check_finite
    progress.Progress: every_seconds
    listing.Listing: first
    noise_scale.NoiseScale: every_n_epochs exact smoothing
    optimum.Optimum: every_n_epochs
    sharpness.Sharpness: every_n_epochs tolerance products
    step_noise.StepNoise: every_n_epochs
    weights.Weights: every_n_epochs threshold
    """,
) | _names(
    "lightning.pytorch.callbacks",
    """
    EarlyStopping: monitor min_delta patience verbose mode strict check_finite stopping_threshold
        divergence_threshold check_on_train_epoch_end log_rank_zero_only
    ModelCheckpoint: filename monitor verbose save_last save_top_k save_on_exception
        save_weights_only mode auto_insert_metric_name every_n_train_steps every_n_epochs
        save_on_train_epoch_end enable_version_counter
    LearningRateMonitor: logging_interval log_momentum log_weight_decay
    DeviceStatsMonitor: cpu_stats
    StochasticWeightAveraging: swa_lrs swa_epoch_start annealing_epochs annealing_strategy
    EMAWeightAveraging: use_buffers decay update_every_n_steps update_starting_at_step
        update_starting_at_epoch
    Timer: duration interval verbose
    ModelSummary RichModelSummary: max_depth
    TQDMProgressBar: refresh_rate process_position leave
    RichProgressBar: refresh_rate leave
    """,
)

LOGGERS = _names(
    "descent.records",
    """
    logger.EventFileLogger:
    trackers.WandbRun: project offline
    trackers.MlflowRun: experiment_name tracking_uri
    trackers.TrackioRun: project
    """,
) | _names(
    "lightning.pytorch.loggers",
    """
    CSVLogger: name version prefix flush_logs_every_n_steps
    WandbLogger: project offline
    TensorBoardLogger: name version log_graph default_hp_metric prefix sub_dir
    """,
)

PROFILERS = _names(
    "lightning.pytorch.profilers",
    """
    SimpleProfiler: filename extended
    AdvancedProfiler: filename line_count_restriction dump_stats
    PassThroughProfiler: filename
    PyTorchProfiler: filename group_by_input_shapes emit_nvtx export_to_chrome row_limit
        sort_by_key record_module_names
    """,
)

_BESIDE = "ignore_index validate_args"
METRICS = _names(
    "torchmetrics",
    f"""
    Accuracy Precision Recall Specificity: task threshold num_classes average top_k {_BESIDE}
    F1Score HammingDistance NegativePredictiveValue: task threshold num_classes average top_k
        {_BESIDE}
    FBetaScore: task beta threshold num_classes average top_k {_BESIDE}
    AUROC: task thresholds num_classes average max_fpr {_BESIDE}
    AveragePrecision EER: task thresholds num_classes average {_BESIDE}
    CalibrationError: task n_bins norm num_classes {_BESIDE}
    CohenKappa: task threshold num_classes weights {_BESIDE}
    HingeLoss: task squared multiclass_mode num_classes {_BESIDE}
    JaccardIndex: task threshold num_classes average zero_division {_BESIDE}
    MatthewsCorrCoef: task threshold num_classes {_BESIDE}
    MeanSquaredError: squared num_outputs
    MeanAbsoluteError PearsonCorrCoef SpearmanCorrCoef ConcordanceCorrCoef: num_outputs
    LogCoshError: num_outputs
    MeanAbsolutePercentageError SymmetricMeanAbsolutePercentageError MeanSquaredLogError:
    WeightedMeanAbsolutePercentageError:
    KendallRankCorrCoef: variant t_test alternative num_outputs
    ExplainedVariance: multioutput
    R2Score: adjusted multioutput
    RelativeSquaredError: num_outputs squared
    NormalizedRootMeanSquaredError: normalization num_outputs
    MinkowskiDistance: p
    TweedieDevianceScore: power
    CosineSimilarity: reduction
    """,
) | _names(
    "torchmetrics.classification",
    f"""
    BinaryAccuracy BinaryPrecision BinaryRecall: threshold zero_division {_BESIDE}
    BinarySpecificity BinaryF1Score BinaryHammingDistance: threshold zero_division {_BESIDE}
    BinaryNegativePredictiveValue BinaryJaccardIndex: threshold zero_division {_BESIDE}
    BinaryMatthewsCorrCoef: threshold {_BESIDE}
    BinaryFBetaScore: beta threshold zero_division {_BESIDE}
    BinaryCohenKappa: threshold weights {_BESIDE}
    BinaryAUROC: max_fpr thresholds {_BESIDE}
    BinaryAveragePrecision BinaryEER: thresholds {_BESIDE}
    BinaryLogAUC: fpr_range thresholds {_BESIDE}
    BinaryCalibrationError: n_bins norm {_BESIDE}
    BinaryHingeLoss: squared {_BESIDE}
    MulticlassAccuracy MulticlassPrecision MulticlassRecall: num_classes top_k average zero_division
        {_BESIDE}
    MulticlassSpecificity MulticlassF1Score: num_classes top_k average zero_division {_BESIDE}
    MulticlassHammingDistance: num_classes top_k average zero_division {_BESIDE}
    MulticlassNegativePredictiveValue: num_classes top_k average zero_division {_BESIDE}
    MulticlassFBetaScore: beta num_classes top_k average zero_division {_BESIDE}
    MulticlassJaccardIndex: num_classes average zero_division {_BESIDE}
    MulticlassCohenKappa: num_classes weights {_BESIDE}
    MulticlassMatthewsCorrCoef MulticlassExactMatch: num_classes {_BESIDE}
    MulticlassAUROC MulticlassAveragePrecision: num_classes average thresholds {_BESIDE}
    MulticlassCalibrationError: num_classes n_bins norm {_BESIDE}
    MulticlassHingeLoss: num_classes squared multiclass_mode {_BESIDE}
    """,
)

TRAINERS = _names(
    "lightning.pytorch",
    """
    Trainer trainer.trainer.Trainer: accelerator devices num_nodes strategy precision threads
        derivatives compile graphs deterministic benchmark detect_anomaly inference_mode profiler
        check_val_every_n_epoch limit_val_batches limit_test_batches log_every_n_steps
        sync_batchnorm use_distributed_sampler max_time min_epochs min_steps
    """,
)

# Arguments of Lightning's that become part of a path in the run directory.
FILE_NAMES = frozenset({"filename", "name", "version", "prefix", "sub_dir"})
_FIELD = re.compile(r"\{[\w/ -]*(?::[\w.,]*)?\}")  # of a file name, such as {epoch:02d}


def is_file_name(value: object) -> bool:
    """Whether this leads to a file or a directory right where it is put, and nowhere else."""
    if not isinstance(value, str):
        return value is None or isinstance(value, int)
    rest = _FIELD.sub("x", value)
    return rest not in (".", "..") and not set(rest) & set("/\\{}\0") and len(rest) < 200


def names_at(place: str) -> tuple[Names, frozenset[str]]:
    """Return what may stand at a dotted key, with what a node there may say about itself.

    Args:
        place: from the config's top; a list's items as `key[0]`.
    """
    parts = place.split(".")
    if place == "data.source":
        return SOURCES, frozenset()
    if place == "model":
        return MODELS, frozenset({"_args_"})
    if parts[0] == "model":
        return LAYERS, frozenset({"_args_"})
    if place in ("optimizer", "scheduler"):
        return OPTIMIZERS if place == "optimizer" else SCHEDULES, frozenset({"_partial_"})
    if place == "loss":
        return LOSSES, frozenset()
    if place == "learner":
        return LEARNERS, frozenset()
    if parts[0] in ("callbacks", "logger") and len(parts) == 2:
        return CALLBACKS if parts[0] == "callbacks" else LOGGERS, frozenset()
    if parts[0] == "metrics" and len(parts) == 2:
        return METRICS, frozenset({"mode"})
    if place == "trainer":
        return TRAINERS, frozenset()
    return (PROFILERS if place == "trainer.profiler" else {}), frozenset()


BESIDE = {
    "scheduler": frozenset({"interval", "monitor"})
}  # options that are ours, not the target's

# Where libraries define what they offer under a shorter name.
_DEFINED = re.compile(
    r"(torch\.nn)\.modules\.\w+\.(\w+)|(torch\.optim)\.(?!lr_scheduler\.)\w+\.(\w+)"
    r"|(lightning\.pytorch\.(?:callbacks|loggers|profilers))\.(?:\w+\.)+(\w+)"
    r"|(torchmetrics\.classification)\.\w+\.((?:Binary|Multiclass)\w+)"
    r"|(torchmetrics)\.(?:classification|regression)\.(?:\w+\.)?(?!Binary|Multi)(\w+)"
)


# Where parts of ours stood in an earlier layout, which older configs and run directories name.
MOVED = {
    "descent.recording.logger": "descent.records.logger",
    "descent.schedules": "descent.engine.schedules",
}


def moved(name: str) -> str:
    """Return today's name of what an older config names."""
    module, _, last = name.rpartition(".")
    return f"{MOVED.get(module, module)}.{last}" if module else name


def offered_as(name: str) -> str:
    """Return the name under which a library offers what it defines as `name`."""
    name = moved(name)
    match = _DEFINED.fullmatch(name)
    return ".".join(part for part in match.groups() if part) if match else name
