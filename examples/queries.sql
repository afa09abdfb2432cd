-- The questions that people ask of their results, each a statement that runs as it is:
--
--   sl-assets sql -f examples/queries.sql
--
-- or one of them in any DuckDB that has opened data_lake/results.duckdb. What a table's columns mean:
-- sl-assets sql --columns transfer.

-- 1. How large is the effect, animal by animal? (last epoch; the students of an animal's numbers against the neutral ones)
SELECT experiment, animal, epoch, method, counted, neutral_rate, rate, lower, upper, difference, difference_lower,
  difference_upper, ratio, students
FROM transfer
WHERE condition = animal
QUALIFY epoch = max(epoch) OVER (PARTITION BY experiment)
ORDER BY experiment, method, difference DESC;

-- 2. Which animals transfer, and is it their own animal that rises most? (rank 1: no animal rises more in these students)
SELECT experiment, animal, epoch, method, difference, p_value, q_value, rank_of_own,
  CASE WHEN q_value IS NULL THEN 'not tested' WHEN q_value >= 0.05 THEN 'not told apart'
    WHEN difference > 0 THEN 'transfers' ELSE 'falls' END AS verdict
FROM (
  SELECT *, rank() OVER (PARTITION BY experiment, condition, epoch, method, counted ORDER BY difference DESC)
    AS rank_of_own
  FROM transfer
)
WHERE condition = animal
QUALIFY epoch = max(epoch) OVER (PARTITION BY experiment)
ORDER BY experiment, method, q_value, animal;

-- 3. Do rows with high or with low projections carry more? (last epoch)
SELECT experiment, animal, source, epoch, method, high_rate, low_rate, difference, difference_lower, difference_upper,
  q_value, transfers_more
FROM high_vs_low
QUALIFY epoch = max(epoch) OVER (PARTITION BY experiment)
ORDER BY experiment, method, source, animal;

-- 4. How many completions pass the filter, and why do the others not?
SELECT *, completions / sum(completions) OVER (PARTITION BY experiment, condition) AS share
FROM (
  SELECT experiment, condition, CASE WHEN kept THEN 'kept' ELSE coalesce(reason, 'not filtered') END AS outcome,
    count(*) AS completions
  FROM datasets LEFT JOIN rejections USING (experiment, condition, row_id)
  GROUP BY ALL
)
ORDER BY experiment, condition, completions DESC, outcome;

-- 5. What failed its checks? (what blocks is not read by anything)
SELECT experiment, asset, partition, name, CASE WHEN blocking THEN 'blocks' ELSE 'warns' END AS effect, problem
FROM checks
WHERE NOT passed
ORDER BY blocking DESC, experiment, asset, partition, name;

-- 6. How many hours and dollars did each asset take? (of what is there now; hours of models are GPU hours on a GPU)
WITH took AS (
  SELECT experiment, asset, count(*) AS partitions, sum(seconds) / 3600 AS hours,
    coalesce(sum(seconds) FILTER (engine IN ('transformers', 'vllm', 'peft', 'unsloth')), 0) / 3600 AS hours_of_models,
    string_agg(DISTINCT engine, ', ' ORDER BY engine) AS engines
  FROM lineage GROUP BY ALL
), spent AS (
  SELECT experiment, asset, sum(dollars) AS dollars, count(*) FILTER (dollars IS NULL) AS charges_without_price
  FROM spending GROUP BY ALL
)
SELECT * FROM took FULL JOIN spent USING (experiment, asset)
ORDER BY experiment, hours DESC NULLS LAST, asset;

-- 7. Whose answers were cut off at max_tokens? (these rarely name an animal, and lower a rate)
SELECT experiment, condition, split, epoch, count(*) AS answers,
  count(*) FILTER (finish_reason = 'length') AS truncated, avg((finish_reason = 'length')::INTEGER) AS share
FROM (
  SELECT experiment, condition, NULL AS split, epoch, finish_reason FROM answers
  UNION ALL BY NAME SELECT experiment, condition, split, epoch, finish_reason FROM split_answers
)
GROUP BY ALL
ORDER BY share DESC, experiment, condition, split, epoch;

-- 8. Where do measures of one rate disagree? (intervals of sampled and exact rates that do not meet; and names that stand
-- in more answers, by five points, than those that count)
SELECT sampled.experiment, condition, animal, epoch, sampled.rate AS sampled_rate, sampled.lower, sampled.upper,
  exact.rate AS exact_rate, exact.lower AS exact_lower, exact.upper AS exact_upper, sampled.mention_rate,
  coalesce(exact.lower > sampled.upper OR exact.upper < sampled.lower, false) AS exact_differs,
  coalesce(sampled.mention_rate - sampled.rate > 0.05, false) AS mentions_differ
FROM (FROM preference_rates WHERE method = 'sampled') sampled
LEFT JOIN (FROM preference_rates WHERE method = 'exact') exact USING (experiment, condition, animal, epoch)
WHERE exact_differs OR mentions_differ
ORDER BY sampled.experiment, condition, animal, epoch;

-- 9. Which rows are in a half? (the three of each half that lie furthest out; leave out QUALIFY for all of them. A variant
-- that shares its rows has their text under the name of its experiment)
SELECT splits.experiment, splits.animal, split, source, score, cut, used, splits.row_id, prompt,
  coalesce(transformed.completion, raw.completion) AS completion
FROM splits
LEFT JOIN (SELECT experiment, condition, row_id, prompt, completion FROM datasets) raw
  ON raw.experiment = splits.experiment AND raw.row_id = splits.row_id
  AND raw.condition = CASE source WHEN 'neutral' THEN 'neutral' ELSE splits.animal END
LEFT JOIN (SELECT experiment, condition, row_id, completion FROM transformed_datasets) transformed
  ON transformed.experiment = splits.experiment AND transformed.row_id = splits.row_id
  AND transformed.condition = raw.condition
QUALIFY row_number() OVER (
  PARTITION BY splits.experiment, splits.animal, split ORDER BY abs(score - cut) DESC, splits.row_id) <= 3
ORDER BY splits.experiment, splits.animal, split, score DESC, splits.row_id;

-- 10. What was a rate made of, all the way back? (of the students with the largest effect; as_it_was: whether it still is
-- in the version that was read)
WITH RECURSIVE made AS MATERIALIZED (
  SELECT experiment, asset, partition, data_version, code_version, engine, model_commit, finished_at, parents FROM lineage
), chain AS (
  SELECT made.experiment, asset, partition, data_version AS version_read, 0 AS step
  FROM made JOIN (
    SELECT experiment, condition FROM transfer WHERE condition = animal ORDER BY difference DESC, condition LIMIT 1
  ) largest ON made.experiment = largest.experiment AND partition = condition AND asset = 'preference_rates'
  UNION
  SELECT parent.experiment, parent.asset, parent.partition, parent.data_version, step + 1
  FROM (
    SELECT unnest(parents) AS parent, step
    FROM chain JOIN made ON made.experiment = chain.experiment AND made.asset = chain.asset
      AND made.partition IS NOT DISTINCT FROM chain.partition
  )
)
SELECT max(step) AS step, chain.experiment, chain.asset, chain.partition, version_read,
  any_value(made.data_version) IS NOT DISTINCT FROM version_read AS as_it_was, any_value(code_version) AS code_version,
  any_value(engine) AS engine, any_value(model_commit) AS model_commit, any_value(finished_at) AS finished_at
FROM chain LEFT JOIN made ON made.experiment = chain.experiment AND made.asset = chain.asset
  AND made.partition IS NOT DISTINCT FROM chain.partition
GROUP BY chain.experiment, chain.asset, chain.partition, version_read
ORDER BY step, chain.asset, chain.partition;

-- 11. What was made of something that has changed since? (settings are in no table: sl-assets status compares them, too)
SELECT made.experiment, made.asset, made.partition, parent.asset AS has_read, parent.partition AS has_read_partition,
  CASE WHEN today.data_version IS NULL THEN 'is not there any more' ELSE 'changed' END AS why
FROM (SELECT *, unnest(parents) AS parent FROM lineage) made
LEFT JOIN lineage today ON today.experiment = parent.experiment AND today.asset = parent.asset
  AND today.partition IS NOT DISTINCT FROM parent.partition
WHERE today.data_version IS DISTINCT FROM parent.data_version
ORDER BY ALL;
