"""Suggest facelab's keys for names of other libraries (Lightning's Trainer, timm, training scripts)."""

import re
from collections.abc import Collection

_IMAGES = "length is counted in images seen: model.recipe.max_images=<images> or model.recipe.max_epochs=<passes>"
_VALIDATION = "how often a run validates is trainer.validations=<times>"
_PROCESSES = "several processes or GPUs share a batch with trainer=ddp trainer.devices=<processes>"
_BATCH = "the batch is given whole: model.recipe.batch_size=<images a step, over all processes>"
_CLIP = "gradients are not clipped; lower model.optimizer.lr, or lengthen model.recipe.schedule.warmup_share"
_SHORT = "for a short try give model.recipe.max_images=640"
_RECORD = "runs are recorded in MLflow: tracking.folder=<folder>, tracking.experiment=<name>, or tracking=server"
_FOLDER = "runs keep their files in runtime.runs_folder=<folder>"
_RESUME = "an interrupted run goes on with resume=<run id>"
_REPEATABLE = "the same config and seed=<number> always give the same weights"
_FIXED = "facelab sets this itself"
_LR = "the learning rate is model.optimizer.lr=<rate>"
_SCHEDULE = "the schedule is model.recipe.schedule, with model.recipe.schedule.warmup_share=<share of the run>"
_IMAGE_SIZE = "images are scaled to data.image_size=<pixels a side>"
_OWN_FACES = "your own faces: data=folder data.root=<folder of folders>"
_WORKERS = "loader processes: runtime.workers=<number>"
_DEVICE = "trainer=cpu, trainer=gpu or trainer=auto says where to train"
_PRECISION = "trainer.precision=32-true or trainer.precision=bf16-mixed"
_EMA = "averaged weights: model.recipe.ema_half_life_images=<images>"
_MODEL = "models are chosen with model=<name>; --help lists them"
_SEARCH = "searches: -m search=tpe search.trials=<number>"
_JOBS = "runs at a time in a sweep: -m sweep.jobs=<number>"
_SPLIT = "shares are split.train=<share> split.val=<share> split.test=<share>"
_AUGMENT = "augmentation is chosen with augment=<name>, or listed in augment.transforms"
_BEST = "training runs its whole length, and the weights of the best validation.metric are kept"

# Names of other libraries by explanation.
_NAMES = {
    _IMAGES: "max_epochs min_epochs max_steps min_steps max_time epochs num_epochs n_epochs steps iterations",
    _VALIDATION: "val_check_interval check_val_every_n_epoch eval_every limit_val_batches num_sanity_val_steps",
    _PROCESSES: "strategy num_nodes sync_batchnorm world_size num_gpus",
    _BATCH: "accumulate_grad_batches bs per_device_train_batch_size grad_accum_steps",
    _CLIP: "gradient_clip_val gradient_clip_algorithm clip_grad clip_mode max_grad_norm",
    _SHORT: "fast_dev_run overfit_batches limit_train_batches limit_test_batches limit_predict_batches",
    _RECORD: "logger log_every_n_steps model_registry log_dir experiment_name tracking_uri wandb",
    _FOLDER: "default_root_dir output output_dir save_dir",
    _RESUME: "ckpt_path resume_from_checkpoint resume_from checkpoint",
    _REPEATABLE: "deterministic random_seed manual_seed",
    _FIXED: "callbacks enable_checkpointing enable_progress_bar enable_model_summary enable_autolog_hparams benchmark "
    "inference_mode use_distributed_sampler profiler detect_anomaly barebones plugins "
    "reload_dataloaders_every_n_epochs",
    _LR: "learning_rate base_lr",
    _SCHEDULE: "sched scheduler lr_scheduler warmup_epochs warmup_steps min_lr",
    _IMAGE_SIZE: "img_size input_size imgsz resolution",
    _OWN_FACES: "data_dir data_path dataset_path train_dir",
    _WORKERS: "num_workers n_workers",
    _DEVICE: "device gpus gpu cuda use_cuda",
    _PRECISION: "amp fp16 bf16 half mixed_precision",
    _EMA: "model_ema ema_decay model_ema_decay ema",
    _MODEL: "backbone network arch pretrained",
    _SEARCH: "n_trials num_trials sampler",
    _JOBS: "n_jobs num_jobs",
    _SPLIT: "val_split test_size validation_split val_size",
    _AUGMENT: "hflip vflip color_jitter mixup cutmix aa reprob auto_augment",
    _BEST: "early_stopping patience",
}
_EXPLAINED = {name: explanation for explanation, names in _NAMES.items() for name in names.split()}


def foreign_hint(key: str, known: Collection[str] | None = None) -> str:
    """Suggest facelab's key for a name of another library: ` In facelab, ...`, or an empty string.

    Args:
        key: dotted, such as `trainer.max_epochs`; only its last part counts.
        known: keys of the config, dotted; a suggestion whose first key is not among them is left out. None for any.
    """
    explanation = _EXPLAINED.get(key.rpartition(".")[2])
    first = re.search(r"[a-z]\w*(?:\.\w+)+|[a-z]\w*(?==)", explanation or "")
    if known is not None and first is not None and first[0] not in known:
        return ""
    return f" In facelab, {explanation}." if explanation else ""
