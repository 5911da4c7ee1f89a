#include "cli/local_embed.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/read_ahead.h"
#include "model/cpu_count.h"
#include "model/load.h"
#include "model/safetensors.h"
#include "server/cast.h"

namespace vitower {
namespace {

absl::StatusOr<PreparedImage> ReadAndPrepare(const InputFile& file, const ImageOptions& options) {
  const absl::StatusOr<std::string> bytes = ReadInput(file);
  if (!bytes.ok()) return bytes.status();
  return PrepareImage(*bytes, options);
}

// An image that waits for its forward pass.
struct Waiting {
  size_t file_index = 0;
  PreparedImage image;
};

using Bytes = absl::Span<const std::byte>;

// The rows of one item of a batch.
Bytes RowsOf(const HostTensor& tensor, const EncodedBatch& batch, size_t item) {
  const int64_t row_bytes = tensor.cols * ByteSize(tensor.dtype);
  const int64_t begin = batch.token_offsets[item];
  const int64_t rows = batch.token_offsets[item + 1] - begin;
  return {tensor.data.get() + begin * row_bytes, static_cast<size_t>(rows * row_bytes)};
}

absl::StatusOr<NamedTensor> MakeTensor(const std::string& name, std::vector<int64_t> shape, Bytes values, DType from,
                                       DType to) {
  NamedTensor tensor{name, std::string(SafetensorsName(to)), std::move(shape), {}};
  tensor.data.resize(values.size() / static_cast<size_t>(ByteSize(from)) * static_cast<size_t>(ByteSize(to)));
  if (!AllFinite(values, from)) return absl::InternalError(absl::StrCat(name, " holds a value that is not finite"));
  if (!Cast(values, from, {reinterpret_cast<std::byte*>(tensor.data.data()), tensor.data.size()}, to)) {
    return absl::OutOfRangeError(absl::StrCat(name, " holds a value too large for fp16: choose --dtype bf16 or fp32"));
  }
  return tensor;
}

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
    const absl::StatusOr<ImageOptions> image_options =
        ToImageOptions(choices.image, info().tower, info().image_processor);
    if (!image_options.ok()) return image_options.status();
    const size_t threads =
        static_cast<size_t>(options_.preprocess_threads > 0 ? options_.preprocess_threads : UsableCores());
    ReadAhead<absl::StatusOr<PreparedImage>> images(files.size(), threads, /*window=*/threads + 4,
                                                    [&](size_t i) { return ReadAndPrepare(files[i], *image_options); });
    return RunBatches(files.size(), images, {choices, *levels, sink});
  }

 private:
  struct Job {
    const EmbedChoices& choices;
    const std::vector<uint32_t>& levels;
    const EmbeddingSink& sink;
  };

  const EncoderInfo& info() const { return encoder_->info(); }

  absl::Status RunBatches(size_t count, ReadAhead<absl::StatusOr<PreparedImage>>& images, const Job& job) {
    std::vector<Waiting> batch;
    int64_t patches = 0;
    for (size_t i = 0; i < count; ++i) {
      absl::StatusOr<PreparedImage> image = images.Next();
      const int64_t more = image.ok() ? image->frames.grid.patches() : 0;
      if (!image.ok() || (!batch.empty() && patches + more > options_.max_batch_patches)) {
        if (absl::Status status = RunBatch(batch, job); !status.ok()) return status;
        batch.clear();
        patches = 0;
      }
      if (!image.ok()) {
        if (absl::Status status = job.sink(i, image.status()); !status.ok()) return status;
        continue;
      }
      batch.push_back({i, *std::move(image)});
      patches += more;
    }
    return RunBatch(batch, job);
  }

  absl::Status RunBatch(const std::vector<Waiting>& batch, const Job& job) {
    if (batch.empty()) return absl::OkStatus();
    std::vector<const Frames*> items;
    items.reserve(batch.size());
    for (const Waiting& waiting : batch) items.push_back(&waiting.image.frames);
    OutputSet wanted;
    wanted.tokens = job.choices.outputs.tokens || job.choices.outputs.pooled;
    wanted.deepstack.resize(model_.deepstack_levels);
    for (uint32_t level : job.levels) wanted.deepstack[level] = true;
    const absl::StatusOr<EncodedBatch> encoded = encoder_->Forward(items, wanted);
    if (!encoded.ok()) return encoded.status();
    for (size_t i = 0; i < batch.size(); ++i) {
      absl::Status status = job.sink(batch[i].file_index, ToEmbedding(*encoded, i, batch[i].image, job));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Embedding> ToEmbedding(const EncodedBatch& batch, size_t item, const PreparedImage& image,
                                        const Job& job) const {
    const DType dtype = job.choices.dtype.value_or(info().dtype);
    Embedding embedding;
    embedding.grid = image.frames.grid;
    embedding.token_count = batch.token_offsets[item + 1] - batch.token_offsets[item];
    embedding.stage_seconds = StageSeconds(image, batch.times);
    const auto add = [&](absl::StatusOr<NamedTensor> tensor) {
      if (!tensor.ok()) return tensor.status();
      embedding.tensors.push_back(*std::move(tensor));
      return absl::OkStatus();
    };
    const auto add_rows = [&](const std::string& name, const HostTensor& tensor) {
      return add(
          MakeTensor(name, {embedding.token_count, tensor.cols}, RowsOf(tensor, batch, item), tensor.dtype, dtype));
    };
    absl::Status status = job.choices.outputs.tokens ? add_rows("tokens", batch.tokens) : absl::OkStatus();
    for (size_t i = 0; status.ok() && i < job.levels.size(); ++i) {
      status = add_rows(absl::StrCat("deepstack_", job.levels[i]), batch.deepstack[job.levels[i]]);
    }
    if (status.ok() && job.choices.outputs.pooled) {
      std::vector<float> mean(static_cast<size_t>(batch.tokens.cols));
      MeanOfRows(RowsOf(batch.tokens, batch, item), batch.tokens.dtype, batch.tokens.cols, absl::MakeSpan(mean));
      const Bytes bytes(reinterpret_cast<const std::byte*>(mean.data()), mean.size() * sizeof(float));
      status = add(MakeTensor("pooled", {batch.tokens.cols}, bytes, DType::kFp32, dtype));
    }
    if (!status.ok()) return status;
    embedding.tensors.push_back(GridTensor("grid_thw", embedding.grid, {3}));
    return embedding;
  }

  static std::vector<std::pair<std::string, double>> StageSeconds(const PreparedImage& image,
                                                                  const ForwardTimes& times) {
    const auto seconds = [](std::chrono::nanoseconds spent) { return std::chrono::duration<double>(spent).count(); };
    return {{"decode", image.decode_seconds},      {"resize", image.resize_seconds},
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
  load.threads = options.threads;
  load.log = options.log;
  if (options.dtype != DType::kFp16) load.dtype = options.dtype;
  absl::StatusOr<std::unique_ptr<Encoder>> encoder = LoadEncoder(load);
  if (!encoder.ok()) return encoder.status();
  return std::make_unique<LocalSource>(options, *std::move(encoder));
}

}  // namespace vitower
