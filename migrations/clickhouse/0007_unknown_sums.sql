-- Histograms whose sender does not say their sum: it counts in no sum and in no average. What came before has the sum 0.

ALTER TABLE metric_points ADD COLUMN IF NOT EXISTS no_total Bool DEFAULT false CODEC(ZSTD(1)) AFTER total;
