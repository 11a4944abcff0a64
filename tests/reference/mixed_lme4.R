# Reference values of score ~ capability * class + (1 | group) from lme4 and lmerTest.
#
#   Rscript tests/reference/mixed_lme4.R
#
# Reads every tests/reference/mixed_inputs_*.csv (written by mixed_inputs.py), writes mixed_lme4.csv: every column with
# lineages as groups and with families, by REML, and (but for ren2024, to keep the file small) by ML.
# Columns: set, benchmark, grouping, method, term, estimate, std_error, freedom (Satterthwaite; NA
# under ML), p_value (likelihood ratio, ML, 1 df,
# under marginality: class and capability are tested in the additive model), group_variance, residual_variance,
# log_likelihood (of the method), log_likelihood_ml, singular (lme4::isSingular), n_models, n_groups.

# bobyqa's "trust region step failed to reduce q" (code 3) means that rhoend is at rounding: the maximum is reached.
suppressPackageStartupMessages({library(lme4); library(lmerTest)})
here <- "tests/reference"
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-11, maxfun = 10000),
                       check.conv.grad = "ignore", check.conv.hess = "ignore", check.conv.singular = "ignore")

fit_one <- function(set, name, data, grouping, method) {
  data$group <- data[[if (grouping == "lineage") "group" else "family"]]
  data$score <- data[[name]]
  data <- data[is.finite(data$score) & is.finite(data$capability), ]
  others <- sort(setdiff(unique(data$model_class), "base"), method = "radix")
  if (length(unique(data$model_class)) < 2) return(NULL)
  for (k in seq_along(others)) data[[paste0("d", k)]] <- as.numeric(data$model_class == others[k])
  main <- paste0("d", seq_along(others))
  cross <- paste0("capability:", main)
  form <- function(terms) as.formula(paste("score ~", paste(c("1", terms, "(1 | group)"), collapse = " + ")))
  ml <- function(terms) as.numeric(logLik(lme4::lmer(form(terms), data, REML = FALSE, control = control)))
  full_terms <- c("capability", main, cross)
  additive <- c("capability", main)
  fit <- lmerTest::lmer(form(full_terms), data, REML = method == "REML", control = control)
  table <- coef(summary(fit, ddf = if (method == "REML") "Satterthwaite" else "lme4"))
  freedom <- if (method == "REML") function(rows) table[rows, "df"] else function(rows) NA
  full <- ml(full_terms); add <- ml(additive)
  p <- c(NA, sapply(additive, function(t) pchisq(2 * (add - ml(setdiff(additive, t))), 1, lower.tail = FALSE)),
         sapply(cross, function(t) pchisq(2 * (full - ml(setdiff(full_terms, t))), 1, lower.tail = FALSE)))
  variances <- as.data.frame(VarCorr(fit))$vcov
  want <- c("(Intercept)", "capability", main, cross)
  rows <- match(want, rownames(table))
  swapped <- is.na(rows)
  rows[swapped] <- match(paste0(main, ":capability"), rownames(table))
  data.frame(set = set, benchmark = name, grouping = grouping, method = method,
             term = c("(Intercept)", "capability", paste0("class[", others, "]"), paste0("capability:class[", others, "]")),
             estimate = table[rows, "Estimate"], std_error = table[rows, "Std. Error"], freedom = freedom(rows),
             p_value = p, group_variance = variances[1], residual_variance = variances[2],
             log_likelihood = as.numeric(logLik(fit)), log_likelihood_ml = full, singular = isSingular(fit),
             n_models = nrow(data), n_groups = length(unique(data$group)))
}

files <- sort(Sys.glob(file.path(here, "mixed_inputs_*.csv")))
results <- list()
for (file in files) {
  set <- sub("mixed_inputs_(.*)\\.csv", "\\1", basename(file))
  data <- read.csv(file, check.names = FALSE)
  for (name in setdiff(names(data), c("model", "model_class", "group", "family", "capability"))) {
    for (grouping in c("lineage", "family")) {
      for (method in c("REML", if (set != "ren2024") "ML")) {
        results[[length(results) + 1]] <- fit_one(set, name, data, grouping, method)
      }
    }
  }
}
out <- file.path(here, "mixed_lme4.csv")
cat(sprintf("# %s, lme4 %s, lmerTest %s; made by mixed_lme4.R\n", R.version.string, packageVersion("lme4"),
            packageVersion("lmerTest")), file = out)
all <- do.call(rbind, results)
numbers <- sapply(all, is.numeric)
all[numbers] <- lapply(all[numbers], signif, digits = 10)
suppressWarnings(write.table(all, out, append = TRUE, sep = ",", row.names = FALSE, qmethod = "double"))
