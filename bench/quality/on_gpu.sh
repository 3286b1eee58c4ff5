#!/usr/bin/env bash
# bench/quality on a GPU machine without a network, in the project's root: bash bench/quality/on_gpu.sh [SECONDS] [PRESET]
# PRESET: gpu, free-gpu or another of cells.py. PROMPTS: a file of prompts and answers for free-gpu, in place of the quickstart's.
# .gpu has wheels and the first part of the student, .gpu2 the second; only the first time on a machine are they read.
# Cells go to $OUT/journal.jsonl. Those of build/quality/ (left on this machine) and of .gpu*/journal.jsonl are not run again.
set -uo pipefail
limit=${1:-505} preset=${2:-gpu} processes=${PROCESSES:-8} model=${MODEL:-/tmp/model.gguf} site=${SITE:-/tmp/site}
out=${OUT:-/tmp/out} kept=build/quality/journal.jsonl
mkdir -p "$out" build/quality
cat .gpu*/journal.jsonl "$kept" 2>/dev/null | grep . | sort -u > "$out/journal.jsonl"
if [ ! -d "$site" ]; then
	python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$site.new" .gpu/*.whl || exit
	mv "$site.new" "$site"
fi
export PYTHONPATH=$site:. PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false SODA_PROGRESS_SECONDS=60
export TORCHINDUCTOR_COMPILE_THREADS=1
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$out/card.txt"
python3 -c 'import torch, transformers; print(torch.__version__, transformers.__version__)' | tee -a "$out/card.txt"
if [ ! -e "$model" ]; then
	cat .gpu/model.0 .gpu2/model.1 > /tmp/model.part
	[ "$(sha256sum /tmp/model.part | cut -d' ' -f1)" = "$(cat .gpu/model.sha256)" ] || { echo "the student is not whole"; exit 1; }
	mv /tmp/model.part "$model"
fi
# 6 GB a process; memory rather than a disk, where there is enough of it
work=/tmp/quality
[ "$(df --output=avail -k /dev/shm | tail -1)" -gt 60000000 ] && work=/dev/shm/quality
mkdir -p "$work"
df -h "$work" | tail -1
timeout -s KILL $((limit + 25 - SECONDS)) python3 -m bench.quality.grid --preset "$preset" --model "$model" \
	--journal "$out/journal.jsonl" --work "$work" --seconds $((limit - SECONDS)) \
	${PROMPTS:+--prompts "$PROMPTS"} --processes "$processes" --threads 2 2> "$out/log.txt" > "$out/grid.txt"
head -3 "$out/grid.txt"
tail -20 "$out/grid.txt"
cp "$out/journal.jsonl" "$kept"
grep -aE 'Error|memory' "$out/log.txt" | sort | uniq -c | sort -rn | head -5
timeout 20 python3 -m bench.quality.table "$out/journal.jsonl" > "$out/tables.md"
wc -l "$out/journal.jsonl" "$out/tables.md"
head -40 "$out/tables.md"
