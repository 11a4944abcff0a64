# Reference values of parallel analysis and of the minimum average partial from the psych package.
#
#   Rscript tests/reference/n_factors_psych.R
#
# Reads the shipped tables (data/*/scores.csv, models.csv, benchmarks.csv), writes tests/reference/n_factors_psych.csv.
# Columns: set (table and model class), method, n_models, index, eigenvalue (descending; fa.parallel's own for Pearson),
# map (psych::vss: mean squared partial correlation after `index` components), sim_mean and sim_q95 (fa.parallel:
# principal components of ITERATIONS normal data sets of the same shape; where no cell is missing), n_parallel (its pc.test).

suppressPackageStartupMessages(library(psych))
ITERATIONS <- 2000
table_of <- function(name, class) {
  scores <- read.csv(file.path("data", name, "scores.csv"))
  benchmarks <- read.csv(file.path("data", name, "benchmarks.csv"))
  models <- read.csv(file.path("data", name, "models.csv"))
  wanted <- benchmarks$benchmark[benchmarks$role == "capability"]
  rows <- models$model[models$model_class == class]
  wide <- tapply(scores$score, list(factor(scores$model, rows), factor(scores$benchmark, wanted)), mean)
  wide[rowSums(!is.na(wide)) > 0, , drop = FALSE]
}

results <- list()
for (set in list(c("helm-classic", "base"), c("helm-classic", "chat"), c("chat-2025", "chat"))) {
  x <- table_of(set[1], set[2])
  k <- ncol(x)
  for (method in c("pearson", "spearman")) {
    r <- cor(x, use = "pairwise.complete.obs", method = method)
    invisible(capture.output(found <- suppressWarnings(suppressMessages(
      vss(r, n = k, rotate = "none", n.obs = nrow(x), fm = "pc", plot = FALSE)))))
    eigenvalue <- eigen(r)$values
    mean_sim <- q95 <- rep(NA, k)
    n_parallel <- NA
    if (method == "pearson") {
      set.seed(20260301)
      options(mc.cores = 1)
      invisible(capture.output(parallel <- fa.parallel(x, fa = "pc", n.iter = ITERATIONS, plot = FALSE, quant = 0.95)))
      stopifnot(max(abs(parallel$pc.values - eigenvalue)) < 1e-10)
      eigenvalue <- parallel$pc.values
      if (!anyNA(x)) {
        # columns 1..k are of resampled data, k+1..2k (named Sim) of normal data
        simulated <- parallel$values[, k + seq_len(k)]; stopifnot(all(startsWith(colnames(simulated), "Sim")))
        mean_sim <- colMeans(simulated)
        q95 <- apply(simulated, 2, quantile, 0.95)
        n_parallel <- which(!(eigenvalue > q95))[1] - 1
      }
    }
    results[[length(results) + 1]] <- data.frame(
      set = paste(set, collapse = "/"), method = method, n_models = nrow(x), index = seq_len(k), eigenvalue = eigenvalue,
      map = found$map, sim_mean = mean_sim, sim_q95 = q95, n_parallel = n_parallel)
  }
}
out <- file.path("tests", "reference", "n_factors_psych.csv")
cat(sprintf("# %s, psych %s; made by n_factors_psych.R; %d simulated data sets\n", R.version.string,
            packageVersion("psych"), ITERATIONS), file = out)
all <- do.call(rbind, results)
numbers <- sapply(all, is.numeric)
all[numbers] <- lapply(all[numbers], signif, digits = 12)
suppressWarnings(write.table(all, out, append = TRUE, sep = ",", row.names = FALSE, qmethod = "double"))
