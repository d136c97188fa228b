"""How the figures look: colours safe for the colour-blind, told apart in grey by markers."""

# Okabe and Ito's palette, and a marker for each.
STYLES = {
    "lsh": ("#D55E00", "o", "hashing (LSH)"),
    "winner_take_all": ("#009E73", "s", "winner-take-all"),
    "lsh_soft": ("#E69F00", "D", "hashing, soft threshold"),
    "winner_take_all_soft": ("#56B4E9", "P", "winner-take-all, soft threshold"),
    "adaptive_dropout": ("#0072B2", "^", "adaptive dropout"),
    "dropout": ("#CC79A7", "v", "dropout"),
    "all": ("#000000", "", "standard network"),
}
TITLES = {
    "mnist": "MNIST", "norb": "NORB", "convex": "Convex", "rectangles_image": "Rectangles-image",
}


def pyplot():
    """matplotlib.pyplot for files: no display needed. Imported late, as only plots need it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({
        "font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.alpha": 0.3, "lines.markersize": 4, "legend.frameon": False,
    })
    return plt


def shades(n):
    """n colours from light to dark, ordered in grey too."""
    import matplotlib

    return [matplotlib.colormaps["viridis_r"](0.2 + 0.8 * i / max(1, n - 1)) for i in range(n)]


def title(name, lines):
    """A panel's title, with what the data are where they are not the original."""
    return lines[0]["title"].replace(" (", "\n(") if lines else TITLES[name]


def not_run(panel):
    """An empty panel that says why it is empty."""
    panel.text(0.5, 0.5, "not run", ha="center", transform=panel.transAxes)
    panel.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
    panel.grid(False)


def error_axis(panel):
    """Errors in per cent by ratio, so that small ones can be told apart beside large ones."""
    panel.set_yscale("log")
    panel.minorticks_off()
    low, high = panel.get_ylim()
    steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    # As many labels as fit: the finest of some sets of round numbers.
    for chosen in (steps, steps[::2], (1, 2, 5), (1, 3)):
        ticks = [s * 10**e for e in (-1, 0, 1, 2) for s in chosen if low <= s * 10**e <= high]
        if len(ticks) <= 9:
            break
    if len(ticks) < 3:
        from matplotlib.ticker import MaxNLocator

        ticks = [t for t in MaxNLocator(4).tick_values(low, high) if low <= t <= high]
    panel.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_ylim(low, high)


def legend(figure, panels, columns=6):
    """One legend below, with what any of the panels has."""
    found = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    columns = max(1, min(columns, len(found)))
    figure.legend(found.values(), found, loc="outside lower center", ncols=columns)


def save(figure, folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name, dpi=200, bbox_inches="tight")
    print(f"figure: {folder / name}")
