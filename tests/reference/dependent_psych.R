# Steiger's test of two correlations without a variable in common, from the psych package, and Zou's interval by hand.
#
#   Rscript tests/reference/dependent_psych.R
#
# Draws samples with a fixed seed and writes them to dependent_psych_samples.csv (sample, x_a, y_a, x_b, y_b) and the
# results to dependent_psych.csv (sample, n, r_a, r_b, z, p, z_unpooled, lower, upper): psych::r.test with pooled = TRUE
# and FALSE; Zou (2007), 95 %, from psych::r.con intervals and the correlation that r.test(pooled = FALSE) implies.

suppressPackageStartupMessages(library(psych))
RNGkind("Mersenne-Twister", "Inversion", "Rejection")
set.seed(20240731)
samples <- list(); results <- list()
for (k in 1:4) {
  n <- c(12, 26, 40, 100)[k]
  x_a <- rnorm(n); x_b <- 0.8 * x_a + 0.6 * rnorm(n)
  e <- rnorm(n)
  y_a <- c(0.7, 0, -0.5, 1.5)[k] * x_a + e
  y_b <- c(0.2, 0, 0.6, 1)[k] * x_b + 0.7 * e + 0.7 * rnorm(n)
  d <- round(cbind(x_a, y_a, x_b, y_b), 6)
  r <- cor(d)
  arguments <- list(n = n, r12 = r[1, 2], r34 = r[3, 4], r23 = r[2, 3], r13 = r[1, 3], r14 = r[1, 4], r24 = r[2, 4])
  pooled <- do.call(r.test, c(arguments, pooled = TRUE))
  apart <- do.call(r.test, c(arguments, pooled = FALSE))
  za <- atanh(r[1, 2]); zb <- atanh(r[3, 4])
  # z = (za - zb) sqrt(n - 3) / sqrt(2 - 2 c)
  c <- 1 - (za - zb)^2 * (n - 3) / (2 * apart$z^2)
  ia <- r.con(r[1, 2], n); ib <- r.con(r[3, 4], n)
  low <- r[1, 2] - r[3, 4] - sqrt((r[1, 2] - ia[1])^2 + (ib[2] - r[3, 4])^2 - 2 * c * (r[1, 2] - ia[1]) * (ib[2] - r[3, 4]))
  high <- r[1, 2] - r[3, 4] + sqrt((ia[2] - r[1, 2])^2 + (r[3, 4] - ib[1])^2 - 2 * c * (ia[2] - r[1, 2]) * (r[3, 4] - ib[1]))
  samples[[k]] <- data.frame(sample = k, d)
  results[[k]] <- data.frame(sample = k, n = n, r_a = r[1, 2], r_b = r[3, 4], z = pooled$z, p = pooled$p,
                             z_unpooled = apart$z, lower = low, upper = high)
}
note <- sprintf("# made by tests/reference/dependent_psych.R; %s, psych %s", R.version.string, packageVersion("psych"))
out <- function(frame, file) { writeLines(note, file); suppressWarnings(write.table(format(frame, digits = 12), file,
  append = TRUE, sep = ",", row.names = FALSE, quote = FALSE)) }
out(do.call(rbind, samples), "tests/reference/dependent_psych_samples.csv")
out(do.call(rbind, results), "tests/reference/dependent_psych.csv")
