# Maximum likelihood of three multi-group one-factor models by lavaan, from means and covariances alone.
#
# Input: groups_moments.csv (class, n, row: "mean" or the benchmark's place, x1..x8), written by groups_moments.py.
# Output: groups_lavaan.csv (level, class, benchmark, quantity, value).
#
#     PYTHONPATH=.:tests python tests/reference/groups_moments.py && Rscript tests/reference/groups_lavaan.R
library(lavaan)
here <- "tests/reference"
moments <- read.csv(file.path(here, "groups_moments.csv"), comment.char = "#")
classes <- unique(moments$class)
x <- paste0("x", 1:8)
part <- function(c, rows) as.matrix(moments[moments$class == c & moments$row %in% rows, x])
covariances <- lapply(classes, function(c) { s <- part(c, 1:8); dimnames(s) <- list(x, x); s })
means <- lapply(classes, function(c) { m <- as.vector(part(c, "mean")); names(m) <- x; m })
counts <- lapply(classes, function(c) moments$n[moments$class == c][1])
labels <- function(stem, equal) sapply(1:8, function(b)
  if (equal) sprintf("c(%s%d,%s%d)", stem, b, stem, b) else sprintf("c(%s%da,%s%db)", stem, b, stem, b))
found <- NULL
for (level in c("configural", "metric", "scalar")) {
  loadings <- labels("l", level != "configural")
  intercepts <- labels("i", level == "scalar")
  syntax <- c(
    paste("F =~", paste0("c(NA,NA)*x1 + ", paste0(loadings, "*", x, collapse = " + "))),
    paste0(x, " ~ ", intercepts, "*1"),
    if (level == "configural") "F ~~ c(1,1)*F" else "F ~~ c(1,NA)*F",
    if (level == "scalar") "F ~ c(0,NA)*1" else "F ~ c(0,0)*1"
  )
  fit <- lavaan(paste(syntax, collapse = "\n"), sample.cov = covariances, sample.mean = means, sample.nobs = counts,
                sample.cov.rescale = FALSE, auto.var = TRUE, meanstructure = TRUE, estimator = "ML")
  stopifnot(lavInspect(fit, "converged"))
  p <- parameterEstimates(fit, se = FALSE)
  add <- function(rows, quantity, benchmark) data.frame(level = level, class = classes[rows$group], benchmark = benchmark,
                                                        quantity = quantity, value = rows$est)
  l <- p[p$op == "=~", ]; i <- p[p$op == "~1" & p$lhs != "F", ]; v <- p[p$op == "~~" & p$lhs != "F", ]
  found <- rbind(found, add(l, "loading", l$rhs), add(i, "intercept", i$lhs), add(v, "unique", v$lhs),
                 add(p[p$op == "~1" & p$lhs == "F", ], "latent_mean", ""),
                 add(p[p$op == "~~" & p$lhs == "F", ], "latent_variance", ""),
                 data.frame(level = level, class = "", benchmark = "", quantity = "log_likelihood",
                            value = as.numeric(fitMeasures(fit, "logl"))))
}
file <- file.path(here, "groups_lavaan.csv")
writeLines(sprintf("# made by tests/reference/groups_lavaan.R; %s, lavaan %s", R.version.string, packageVersion("lavaan")), file)
suppressWarnings(write.table(found, file, append = TRUE, sep = ",", row.names = FALSE, quote = FALSE))
