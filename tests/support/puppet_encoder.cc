#include "tests/support/puppet_encoder.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "server/cast.h"

namespace vitower {
namespace {

bool FirstPixelIs(const Frames& frames, const uint8_t (&pixel)[3]) {
  return std::equal(std::begin(pixel), std::end(pixel), frames.rgb.begin());
}

float ValueOrMark(const Frames& frames, int64_t row, int64_t rows, int64_t col, int64_t output) {
  if (row + 1 == rows && FirstPixelIs(frames, kNanPixel)) return std::numeric_limits<float>::quiet_NaN();
  if (row + 1 == rows && FirstPixelIs(frames, kHugePixel)) return 1e5F;
  return PuppetValue(frames, row, col, output);
}

HostTensor MakeTensor(absl::Span<const Frames* const> items, int64_t output, const EncoderInfo& info) {
  std::vector<float> values;
  for (const Frames* item : items) {
    const int64_t rows = item->grid.patches() / info.tower.merge_unit();
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t col = 0; col < info.tower.out_hidden_size; ++col) {
        values.push_back(ValueOrMark(*item, row, rows, col, output));
      }
    }
  }
  auto bytes = std::make_shared<std::vector<std::byte>>(values.size() * static_cast<size_t>(ByteSize(info.dtype)));
  Cast({reinterpret_cast<const std::byte*>(values.data()), values.size() * sizeof(float)}, DType::kFp32,
       absl::MakeSpan(*bytes), info.dtype);
  HostTensor tensor;
  tensor.data = std::shared_ptr<const std::byte>(bytes, bytes->data());
  tensor.cols = info.tower.out_hidden_size;
  tensor.rows = static_cast<int64_t>(values.size()) / tensor.cols;
  tensor.dtype = info.dtype;
  return tensor;
}

}  // namespace

void Puppet::Hold() {
  MutexLock lock(mu_);
  held_ = true;
}

void Puppet::Release() {
  {
    MutexLock lock(mu_);
    held_ = false;
  }
  changed_.NotifyAll();
}

void Puppet::AwaitPasses(size_t passes) {
  MutexLock lock(mu_);
  while (batches_.size() < passes) changed_.Wait(mu_);
}

void Puppet::SetMood(Mood mood) {
  MutexLock lock(mu_);
  mood_ = mood;
}

std::vector<std::vector<GridThw>> Puppet::batches() const {
  MutexLock lock(mu_);
  return batches_;
}

Puppet::Mood Puppet::Begin(std::vector<GridThw> grids) {
  MutexLock lock(mu_);
  batches_.push_back(std::move(grids));
  changed_.NotifyAll();
  while (held_) changed_.Wait(mu_);
  return mood_;
}

float PuppetValue(const Frames& frames, int64_t row, int64_t col, int64_t output) {
  const int64_t colour = frames.rgb[0] + 2 * frames.rgb[1] + 3 * frames.rgb[2];
  const int64_t place = 5 * frames.grid.h + 7 * frames.grid.w + 11 * row + 13 * col + 17 * output;
  return static_cast<float>((colour + place) % 199);
}

class PuppetEncoder final : public Encoder {
 public:
  PuppetEncoder(std::shared_ptr<Puppet> puppet, DType dtype) : puppet_(std::move(puppet)), info_(PuppetInfo(dtype)) {}

  const EncoderInfo& info() const override { return info_; }

  absl::StatusOr<EncodedBatch> Forward(absl::Span<const Frames* const> items, const OutputSet& wanted) override {
    const auto begun_at = std::chrono::steady_clock::now();
    std::vector<GridThw> grids;
    for (const Frames* item : items) grids.push_back(item->grid);
    const Puppet::Mood mood = puppet_->Begin(std::move(grids));
    if (mood == Puppet::Mood::kFail) return absl::InternalError("secret reason");
    if (mood == Puppet::Mood::kThrow) throw std::runtime_error("secret reason");
    EncodedBatch batch = Encode(items, wanted);
    if (mood == Puppet::Mood::kTooFewRows) --batch.token_offsets.back();
    batch.times.blocks = std::chrono::steady_clock::now() - begun_at;
    return batch;
  }

 private:
  EncodedBatch Encode(absl::Span<const Frames* const> items, const OutputSet& wanted) const {
    EncodedBatch batch;
    batch.token_offsets.push_back(0);
    for (const Frames* item : items) {
      batch.token_offsets.push_back(batch.token_offsets.back() + item->grid.patches() / info_.tower.merge_unit());
    }
    if (wanted.tokens) batch.tokens = MakeTensor(items, 0, info_);
    batch.deepstack.resize(wanted.deepstack.size());
    for (size_t i = 0; i < wanted.deepstack.size(); ++i) {
      if (wanted.deepstack[i]) batch.deepstack[i] = MakeTensor(items, static_cast<int64_t>(i) + 1, info_);
    }
    return batch;
  }

  const std::shared_ptr<Puppet> puppet_;
  const EncoderInfo info_;
};

std::unique_ptr<Encoder> MakePuppetEncoder(std::shared_ptr<Puppet> puppet, DType dtype) {
  return std::make_unique<PuppetEncoder>(std::move(puppet), dtype);
}

EncoderInfo PuppetInfo(DType dtype) {
  EncoderInfo info;
  info.name = "puppet";
  info.fingerprint = "0123abcd";
  info.device = "puppet:0";
  info.dtype = dtype;
  info.weight_bytes = 4096;
  info.tower.depth = 4;
  info.tower.hidden_size = 16;
  info.tower.num_heads = 2;
  info.tower.intermediate_size = 32;
  info.tower.out_hidden_size = 8;
  info.tower.deepstack_visual_indexes = {1, 2};
  info.image_processor.min_pixels = 1024;
  info.image_processor.max_pixels = 1 << 24;
  return info;
}

}  // namespace vitower
