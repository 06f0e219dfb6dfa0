"""Two probes of patches, logistic regression and a small CNN, trained on some photos and tested on others; and their AUC."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.core.seeds import seed_for
from stages.audits.seam.patches import Patches

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
# (train patches' indices, test patches' indices) -> scores of the test patches, higher for the target.
Probe = Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]
EPOCHS, BATCH, RATE = 12, 128, 3e-3
NEWTON_STEPS = 8  # at most
RIDGE = 30.0  # penalty of a squared weight; features are standardised
ENOUGH = 1e-3  # largest change of a weight at which Newton's method stops
FEW = 40  # features, up to which products of two are added: 820 columns at most


def folds_of(photos: NDArray[np.str_], folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each patch [N]: whole photos are dealt out in the order of their hashes."""
    names = sorted(set(photos.tolist()), key=lambda name: (seed_for(seed, "seam fold", name), name))
    place = {name: number % folds for number, name in enumerate(names)}
    return np.array([place[name] for name in photos.tolist()], np.int64)


def out_of_fold(probe: Probe, folds: NDArray[np.int64]) -> Floats:
    """A score of each patch [N] by a probe that was trained without its photo."""
    scores = np.zeros(len(folds))
    for fold in np.unique(folds):
        test = folds == fold
        scores[test] = probe(np.flatnonzero(~test), np.flatnonzero(test))
    return scores


def logistic(features: Floats, target: Flags) -> Probe:
    """Ridge logistic regression by Newton's method on features [N, F] and their squares, or all products of two when F is small."""

    def probe(train: NDArray[np.int64], test: NDArray[np.int64]) -> Floats:
        mean, spread = features[train].mean(axis=0), features[train].std(axis=0) + 1e-6

        def expand(rows: NDArray[np.int64]) -> Floats:
            x = np.clip((features[rows] - mean) / spread, -4, 4)
            first, second = np.triu_indices(x.shape[1]) if x.shape[1] <= FEW else 2 * (np.arange(x.shape[1]),)
            return np.concatenate([x, x[:, first] * x[:, second]], axis=1)

        design = expand(train)
        centre, scale = design.mean(axis=0), design.std(axis=0) + 1e-6
        weights = _newton(_with_one((design - centre) / scale), target[train].astype(np.float64))
        scores: Floats = _with_one((expand(test) - centre) / scale) @ weights
        return scores

    return probe


def _with_one(x: Floats) -> Floats:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)


def _newton(x: Floats, y: Floats) -> Floats:
    """Weights [F] of least penalised log loss for x [N, F], y [N] in 0..1; the last column, of ones, is not penalised."""
    penalty = np.full(x.shape[1], RIDGE)
    penalty[-1] = 1e-6
    weights = np.zeros(x.shape[1])
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (chance - y) + penalty * weights
        curve = (x * (chance * (1 - chance) + 1e-6)[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        weights -= step
        if np.abs(step).max() < ENOUGH:
            break
    return weights


class PatchNet(nn.Module):
    """A small CNN over the colours and their high-pass: [N, 3, s, s] in 0..1 -> logits [N]."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(6, width, 4, stride=2), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1, stride=2), nn.BatchNorm2d(2 * width), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(4 * width, 1))

    def forward(self, image: Tensor) -> Tensor:
        """image: float [N, 3, s, s] in 0..1 -> logits [N]."""
        smooth = nn.functional.avg_pool2d(nn.functional.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
        maps = self.body(torch.cat([image - 0.5, 8 * (image - smooth)], dim=1))  # [N, 2 * width, h, w]
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.head(pooled)[:, 0]
        return logits


def network(patches: Patches, seed: int, epochs: int = EPOCHS) -> Probe:
    """The CNN, trained from scratch with mirrored copies; the same seed gives the same scores on one thread."""
    images = torch.from_numpy(patches.pixels).permute(0, 3, 1, 2)
    target = torch.from_numpy(patches.target.astype(np.float32))

    def probe(train: NDArray[np.int64], test: NDArray[np.int64]) -> Floats:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(seed, "seam network", str(int(test[0]))) % 2**31)
            net = PatchNet()
            _fit(net, images, target, torch.from_numpy(train), epochs)
        net.eval()
        with torch.no_grad():
            parts = [net(images[chunk].float() / 255) for chunk in torch.split(torch.from_numpy(test), 1024)]
        scores: Floats = torch.cat(parts).double().numpy()
        return scores

    return probe


def _fit(net: PatchNet, images: Tensor, target: Tensor, train: Tensor, epochs: int) -> None:
    steps = epochs * max(1, len(train) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps + 1)
    net.train()
    done = 0
    while done < steps:
        for chunk in torch.split(train[torch.randperm(len(train))], BATCH):
            if done == steps or len(chunk) < 2:
                break
            batch = images[chunk].float() / 255
            for axis in (2, 3):
                mirrored = torch.rand(len(batch), 1, 1, 1) < 0.5
                batch = torch.where(mirrored, batch.flip(axis), batch)
            loss = nn.functional.binary_cross_entropy_with_logits(net(batch), target[chunk])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            done += 1


def auc(scores: Floats, target: Flags) -> float:
    """Area under the ROC curve: the chance that a target outscores another sample, ties counting half; NaN for one kind only."""
    _, place = np.unique(scores, return_inverse=True)
    return _area(place, target, np.ones(len(scores)))


def _area(place: NDArray[np.int64], target: Flags, weights: Floats) -> float:
    """AUC of samples of rank ``place`` [N], which ties share, repeated ``weights`` [N] times."""
    hit = np.bincount(place, weights * target)
    miss = np.bincount(place, weights * ~target)
    below = miss.cumsum() - miss
    total = hit.sum() * miss.sum()
    return float((hit * (below + miss / 2)).sum() / total) if total else float("nan")


def auc_by_photo(
    scores: Floats, target: Flags, photos: NDArray[np.str_], draws: int, seed: int
) -> tuple[float, float, float]:
    """(AUC, low, high): over all patches, with a 95 % bootstrap interval that draws whole photos, as patches of one are alike."""
    _, owner = np.unique(photos, return_inverse=True)
    _, place = np.unique(scores, return_inverse=True)
    count = int(owner.max()) + 1
    rng = np.random.default_rng(seed)
    times = (np.bincount(rng.integers(0, count, count), minlength=count) for _ in range(draws))
    drawn = [_area(place, target, one[owner].astype(np.float64)) for one in times]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return auc(scores, target), float(low), float(high)
