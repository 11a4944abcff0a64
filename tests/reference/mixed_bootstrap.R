# Parametric bootstrap p-values by simulation from, and refitting with, lme4: nothing of ours enters.
#
#   Rscript tests/reference/mixed_bootstrap.R
#
# Reads mixed_inputs_*.csv, writes mixed_bootstrap.csv. Columns: set, benchmark, grouping, term, statistic (twice the gain
# in log-likelihood: ML for a term, REML for the variance, against lm), p_value, replicates.

suppressPackageStartupMessages(library(lme4))
here <- "tests/reference"
replicates <- 1000
control <- lmerControl(optimizer = "bobyqa", check.conv.grad = "ignore", check.conv.hess = "ignore",
                       check.conv.singular = "ignore")

read_one <- function(set, name, grouping) {
  data <- read.csv(file.path(here, sprintf("mixed_inputs_%s.csv", set)), check.names = FALSE)
  data$score <- data[[name]]
  data$g <- data[[if (grouping == "lineage") "group" else "family"]]
  data$chat <- as.numeric(data$model_class == "chat")
  data$reasoning <- as.numeric(data$model_class == "reasoning")
  data[is.finite(data$score) & is.finite(data$capability), ]
}

term_test <- function(set, name, grouping, term, larger, smaller) {
  data <- read_one(set, name, grouping)
  rich <- lmer(larger, data, REML = FALSE, control = control)
  poor <- lmer(smaller, data, REML = FALSE, control = control)
  gain <- function(a, b) 2 * as.numeric(logLik(a) - logLik(b))
  observed <- gain(rich, poor)
  simulated <- apply(as.matrix(simulate(poor, replicates)), 2, function(y) gain(refit(rich, y), refit(poor, y)))
  data.frame(set = set, benchmark = name, grouping = grouping, term = term, statistic = observed,
             p_value = (1 + sum(simulated >= observed - 1e-8)) / (1 + replicates), replicates = replicates)
}

variance_test <- function(set, name, grouping, fixed) {
  data <- read_one(set, name, grouping)
  random <- update(fixed, . ~ . + (1 | g))
  # Not refit(): in lme4 1.1.31 it does not reach the maximum of a restricted likelihood that a new lmer() reaches.
  groups <- function(data) lmer(random, data, REML = TRUE, control = control)
  without <- lm(fixed, data)
  statistic <- function(fit, plain) max(0, 2 * as.numeric(logLik(fit, REML = TRUE) - logLik(plain, REML = TRUE)))
  observed <- statistic(groups(data), without)
  simulated <- apply(as.matrix(simulate(without, replicates)), 2, function(y) {
    data$score <- y
    statistic(groups(data), lm(fixed, data))
  })
  data.frame(set = set, benchmark = name, grouping = grouping, term = "group variance", statistic = observed,
             p_value = (1 + sum(simulated >= observed - 1e-6)) / (1 + replicates), replicates = replicates)
}

set.seed(20240731)
two <- score ~ capability * chat
results <- rbind(
  term_test("pairs", "ratio_0.5", "lineage", "capability:class[chat]", score ~ capability * chat + (1 | g),
            score ~ capability + chat + (1 | g)),
  term_test("helm-classic", "classic_civilcomments", "family", "capability:class[chat]",
            score ~ capability * chat + (1 | g), score ~ capability + chat + (1 | g)),
  term_test("three", "ratio_1", "family", "class[reasoning]", score ~ capability + chat + reasoning + (1 | g),
            score ~ capability + chat + (1 | g)),
  variance_test("pairs", "ratio_0.5", "lineage", two),
  variance_test("helm-classic", "classic_truthfulqa", "lineage", two)
)
out <- file.path(here, "mixed_bootstrap.csv")
cat(sprintf("# %s, lme4 %s; made by mixed_bootstrap.R\n", R.version.string, packageVersion("lme4")), file = out)
suppressWarnings(write.table(results, out, append = TRUE, sep = ",", row.names = FALSE, qmethod = "double"))
