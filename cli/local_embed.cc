#include "cli/local_embed.h"

#include <chrono>
#include <utility>
#include <vector>

#include "cli/item_tensors.h"
#include "cli/prepare.h"
#include "cli/read_ahead.h"
#include "cli/threads.h"
#include "model/load.h"

namespace vitower {
namespace {

// What waits for its forward pass.
struct Waiting {
  size_t file_index = 0;
  Prepared item;
};

class LocalSource final : public EmbeddingSource {
 public:
  LocalSource(LocalOptions options, std::unique_ptr<Encoder> encoder)
      : options_(std::move(options)),
        encoder_(std::move(encoder)),
        model_{info().name, info().fingerprint, info().tower.deepstack_visual_indexes.size()} {}

  const ModelIdentity& model() const override { return model_; }

  absl::Status Run(absl::Span<const InputFile> files, const EmbedChoices& choices, const EmbeddingSink& sink) override {
    const absl::StatusOr<std::vector<uint32_t>> levels = WantedLevels(choices.outputs, model_);
    if (!levels.ok()) return levels.status();
    const absl::StatusOr<Preparer> preparer =
        Preparer::Create(choices.image, choices.clip, info().tower, info().image_processor, info().video_processor);
    if (!preparer.ok()) return preparer.status();
    const auto threads = static_cast<size_t>(ThreadCount(options_.preprocess_threads));
    ReadAhead<absl::StatusOr<Prepared>> items(files.size(), threads, /*window=*/threads + 4,
                                              [&](size_t i) { return preparer->Prepare(files[i]); });
    return RunBatches(files.size(), items, {choices, *levels, sink});
  }

 private:
  struct Job {
    const EmbedChoices& choices;
    const std::vector<uint32_t>& levels;
    const EmbeddingSink& sink;
  };

  const EncoderInfo& info() const { return encoder_->info(); }

  absl::Status RunBatches(size_t count, ReadAhead<absl::StatusOr<Prepared>>& items, const Job& job) {
    std::vector<Waiting> batch;
    int64_t patches = 0;
    for (size_t i = 0; i < count; ++i) {
      absl::StatusOr<Prepared> item = items.Next();
      const int64_t more = item.ok() ? item->frames.grid.patches() : 0;
      if (!item.ok() || (!batch.empty() && patches + more > options_.max_batch_patches)) {
        if (absl::Status status = RunBatch(batch, job); !status.ok()) return status;
        batch.clear();
        patches = 0;
      }
      if (!item.ok()) {
        if (absl::Status status = job.sink(i, item.status()); !status.ok()) return status;
        continue;
      }
      batch.push_back({i, *std::move(item)});
      patches += more;
    }
    return RunBatch(batch, job);
  }

  absl::Status RunBatch(const std::vector<Waiting>& batch, const Job& job) {
    if (batch.empty()) return absl::OkStatus();
    std::vector<TowerInput> items;
    items.reserve(batch.size());
    for (const Waiting& waiting : batch) items.emplace_back(&waiting.item.frames);
    OutputSet wanted;
    const WantedOutputs& outputs = job.choices.outputs;
    wanted.tokens = outputs.tokens || outputs.pooled || outputs.pooled_slices;
    wanted.deepstack.resize(model_.deepstack_levels);
    for (uint32_t level : job.levels) wanted.deepstack[level] = true;
    const absl::StatusOr<EncodedBatch> encoded = encoder_->Forward(items, wanted);
    if (!encoded.ok()) return encoded.status();
    for (size_t i = 0; i < batch.size(); ++i) {
      absl::Status status = job.sink(batch[i].file_index, ToEmbedding(*encoded, i, batch[i].item, job));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Embedding> ToEmbedding(const EncodedBatch& batch, size_t item, const Prepared& prepared,
                                        const Job& job) const {
    Embedding embedding;
    embedding.grid = prepared.frames.grid;
    embedding.token_count = batch.token_offsets[item + 1] - batch.token_offsets[item];
    embedding.stage_seconds = StageSeconds(prepared, batch.times);
    embedding.clip = prepared.clip;
    absl::StatusOr<std::vector<NamedTensor>> tensors = ItemTensors(
        batch, item, embedding.grid, job.choices.outputs, job.levels, job.choices.dtype.value_or(info().dtype));
    if (!tensors.ok()) return tensors.status();
    embedding.tensors = *std::move(tensors);
    embedding.tensors.push_back(GridTensor("grid_thw", embedding.grid, {3}));
    return embedding;
  }

  static std::vector<std::pair<std::string, double>> StageSeconds(const Prepared& prepared, const ForwardTimes& times) {
    const auto seconds = [](std::chrono::nanoseconds spent) { return std::chrono::duration<double>(spent).count(); };
    return {{"decode", prepared.decode_seconds},   {"resize", prepared.resize_seconds},
            {"upload", seconds(times.upload)},     {"patch_embed", seconds(times.patch_embed)},
            {"position", seconds(times.position)}, {"blocks", seconds(times.blocks)},
            {"merger", seconds(times.merger)},     {"download", seconds(times.download)}};
  }

  const LocalOptions options_;
  const std::unique_ptr<Encoder> encoder_;
  const ModelIdentity model_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddingSource>> OpenLocal(const LocalOptions& options) {
  LoadOptions load;
  load.model = options.model;
  load.device = options.device;
  load.threads = ThreadCount(options.threads);
  load.log = options.log;
  if (options.dtype != DType::kFp16) load.dtype = options.dtype;
  absl::StatusOr<std::unique_ptr<Encoder>> encoder = LoadEncoder(load);
  if (!encoder.ok()) return encoder.status();
  return std::make_unique<LocalSource>(options, *std::move(encoder));
}

}  // namespace vitower
