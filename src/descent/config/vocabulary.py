"""What other tools call it, and what does it here.

Keys are options and choices as people bring them along from Lightning, Keras, PyTorch and the
Lightning + Hydra templates; the front door answers them by the name the thing has here.
"""

from __future__ import annotations

from descent.config.spelling import program

# Other names of options that exist.
ALIASES = {
    "trainer.max_epochs": "stop.epochs",
    "trainer.max_steps": "stop.steps",
    "trainer.limit_train_batches": "data.limit",
    "epochs": "stop.epochs",
    "num_epochs": "stop.epochs",
    "n_epochs": "stop.epochs",
    "max_epochs": "stop.epochs",
    "steps": "stop.steps",
    "max_steps": "stop.steps",
    "max_iter": "stop.steps",
    "batch": "data.batch_size",
    "bs": "data.batch_size",
    "data.batch": "data.batch_size",
    "learning_rate": "optimizer.lr",
    "optimizer.learning_rate": "optimizer.lr",
    "model.lr": "optimizer.lr",
    "model.learning_rate": "optimizer.lr",
    "model.optimizer.lr": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "l1": "penalty.l1",
    "l2": "penalty.l2",
    "alpha": "penalty.l2",
    "grad_clip": "clip.norm",
    "clip_grad_norm": "clip.norm",
    "ckpt_path": "resume",
    "resume_from_checkpoint": "resume",
    "checkpoint": "resume",
    "seed_everything": "seed",
    "random_state": "seed",
    "random_seed": "seed",
    "task_name": "name",
    "run_name": "name",
    "tags": "name",
    "tag": "name",
    "precision": "trainer.precision",
    "devices": "trainer.devices",
    "gpus": "trainer.devices",
    "trainer.gpus": "trainer.devices",
    "accelerator": "trainer.accelerator",
    "device": "trainer.accelerator",
    "strategy": "trainer.strategy",
    "threads": "trainer.threads",
    "num_threads": "trainer.threads",
    "deterministic": "trainer.deterministic",
    "data.train_val_test_split": "data.val_fraction",
    "val_split": "data.val_fraction",
    "validation_split": "data.val_fraction",
    "test_size": "data.test_fraction",
    "output_dir": "paths.outputs",
    "paths.output_dir": "paths.outputs",
    "paths.log_dir": "paths.outputs",
    "save_dir": "paths.outputs",
    "hidden": "model.hidden",
    "hidden_layer_sizes": "model.hidden",
    "model.hidden_layer_sizes": "model.hidden",
    "model.layers": "model.hidden",
    "model.hidden_size": "model.hidden",
    "objective_metric": "optimized_metric",
    "monitor": "optimized_metric",
}

# Options that do not exist here, and why, or what to do instead; a sentence goes on with these.
ADVICE = {
    "data.num_workers": "it is not needed: the data lie on the training device",
    "data.pin_memory": "it is not needed: the data lie on the training device",
    "data.persistent_workers": "it is not needed: the data lie on the training device",
    "data.prefetch_factor": "it is not needed: the data lie on the training device",
    "num_workers": "the data lie on the training device; a sweep has hydra.launcher.workers",
    "data.data_dir": "data=... chooses the data; data=table data.path=... reads a file of yours",
    "data_dir": "data=... chooses the data; data=table data.path=... reads a file of yours",
    "paths.data_dir": "data=... chooses the data; data=table data.path=... reads a file of yours",
    "data.shuffle": "use data.order=shuffle or data.order=sequential",
    "train": f"every command of {program('train')} trains; {program('eval')} run=<run> tests a run "
    "again",
    "loss": "the loss follows from the data's task: squared error or cross-entropy, to which "
    "penalty.l1 and penalty.l2 add",
    "criterion": "the loss follows from the data's task: squared error or cross-entropy, to which "
    "penalty.l1 and penalty.l2 add",
    "model.loss": "the loss follows from the data's task: squared error or cross-entropy",
    "model.optimizer": "the optimizer is a choice of its own: optimizer=...",
    "model.scheduler": "the schedule is a choice of its own: scheduler=...",
    "lr_scheduler": "the schedule is a choice of its own: scheduler=...",
    "model.compile": "models here are too small to gain from it; leave it out",
    "compile": "models here are too small to gain from it; leave it out",
    "hparams_search": "use sweep=optuna, or a grid: -m optimizer.lr=0.01,0.1",
    "datamodule": "the data are chosen by data=...",
    "extras": "there are no such; leave it out",
    "extras.print_config": "--cfg job prints the config",
    "print_config": "--cfg job prints the config",
    "verbose": "train.log in the run's directory has everything",
    "early_stopping": "use callbacks=early_stopping",
    "patience": "use callbacks=early_stopping callbacks.early_stopping.patience=...",
    "fast_dev_run": "use debug=default",
}

# Arguments of Lightning's Trainer that are set here, or would not mean what they say.
TRAINER = {
    "max_epochs": "use stop.epochs instead",
    "min_epochs": "a run ends where stop.* says; leave it out",
    "max_steps": "use stop.steps instead",
    "min_steps": "a run ends where stop.* says; leave it out",
    "gradient_clip_val": "use clip.norm instead",
    "gradient_clip_algorithm": "use clip.norm or clip.value instead",
    "accumulate_grad_batches": "use a larger data.batch_size instead",
    "limit_train_batches": "use data.limit instead",
    "limit_test_batches": "use test=false or data.test_fraction instead",
    "limit_predict_batches": f"{program('eval')} run=<run> predict=... predicts",
    "overfit_batches": "use debug=overfit instead",
    "fast_dev_run": "use debug=default instead",
    "val_check_interval": "use trainer.check_val_every_n_epoch instead",
    "log_every_n_steps": "every step is recorded; callbacks.recorder.points thins the curves",
    "enable_progress_bar": "callbacks.progress prints the progress; ~callbacks.progress removes it",
    "enable_model_summary": "the lines before training say what the model is",
    "enable_checkpointing": "callbacks.checkpoint keeps checkpoints; ~callbacks.checkpoint "
    "removes it",
    "num_sanity_val_steps": "a fit is not begun with a trial of the validation here",
    "default_root_dir": "use hydra.run.dir or paths.outputs instead",
    "callbacks": "callbacks are a choice of their own: callbacks=..., +callbacks.mine._target_=...",
    "logger": "loggers are a choice of their own: logger=..., +logger.mine._target_=...",
    "reload_dataloaders_every_n_epochs": "windows of rows are drawn anew each epoch as it is",
    "use_distributed_sampler": "windows of rows are shared out as it is",
    "inference_mode": "evaluation needs no gradients as it is",
    "barebones": "use callbacks=bare instead",
    "num_nodes": "a run trains on one machine",
}

# Choices of a group that exist under another name, or are made in another way.
CHOICES = {
    ("callbacks", "none"): "callbacks=bare",
    ("callbacks", "null"): "callbacks=bare",
    ("callbacks", "model_checkpoint"): "callbacks=default, which keeps checkpoints",
    ("callbacks", "rich_progress_bar"): "callbacks=default, which prints a progress line",
    ("logger", "null"): "logger=none",
    ("logger", "many_loggers"): "logger=[csv,tensorboard]",
    ("logger", "comet"): "+logger.comet._target_=lightning.pytorch.loggers.CometLogger",
    ("logger", "neptune"): "+logger.neptune._target_=lightning.pytorch.loggers.NeptuneLogger",
    ("logger", "weights_and_biases"): "logger=wandb",
    ("debug", "fdr"): "debug=default",
    ("debug", "true"): "debug=default",
    ("debug", "fast_dev_run"): "debug=default",
    ("trainer", "ddp_sim"): "trainer=ddp trainer.accelerator=cpu",
    ("trainer", "mps"): "trainer.accelerator=mps",
    ("trainer", "cuda"): "trainer=gpu",
    ("trainer", "null"): "trainer=default",
    ("data", "mnist"): "data=digits",
    ("data", "csv"): "data=table data.path=<file> data.target=<column>",
    ("model", "null"): "model=linear",
    ("model", "logistic"): "model=linear",
    ("scheduler", "null"): "scheduler=constant",
    ("scheduler", "none"): "scheduler=constant",
    ("scheduler", "reduce_on_plateau"): "scheduler=plateau",
    ("optimizer", "null"): "optimizer=sgd",
    ("optimizer", "gd"): "optimizer=sgd data.batch_size=full",
    ("sweep", "grid"): "-m optimizer.lr=0.01,0.1, or sweep=lr",
}

# Values that an option has under another name; the end of its sentence.
VALUES = {
    ("seed", "null"): ". Every run has a seed, which is kept with it.",
    ("trainer.precision", "32"): "; did you mean '32-true'?",
    ("trainer.precision", "64"): "; did you mean '64-true'?",
    ("trainer.precision", "16"): "; did you mean '16-mixed'?",
    ("trainer.precision", "bf16"): "; did you mean 'bf16-mixed'?",
    ("trainer.precision", "float64"): "; did you mean '64-true'?",
    ("trainer.precision", "float32"): "; did you mean '32-true'?",
    ("trainer.precision", "double"): "; did you mean '64-true'?",
    ("data.batch_size", "-1"): "; did you mean 'full'?",
    ("data.batch_size", "null"): "; did you mean 'full'?",
    ("data.scale", "true"): "; did you mean 'standardize'?",
    ("data.scale", "false"): "; did you mean 'none'?",
    ("data.scale", "null"): "; did you mean 'none'?",
    ("trainer.threads", "null"): "; did you mean 'auto'?",
}


def replacement(key: str) -> str | None:
    """Return what answers an option that does not exist, as the end of its sentence."""
    if key in ALIASES:
        return f"did you mean '{ALIASES[key]}'?"
    if key.startswith("trainer.") and (words := TRAINER.get(key.removeprefix("trainer."))):
        return f"{words}."
    while key:
        if key in ADVICE:
            return f"{ADVICE[key]}."
        key = key.rpartition(".")[0]
    return None
