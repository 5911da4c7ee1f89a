#include "tests/support/puppet_encoder.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <stdexcept>
#include <utility>

#include "server/cast.h"

namespace vitower {
namespace {

using Pixel = std::array<uint8_t, 3>;

constexpr int64_t kMergeUnit = 4;  // patches in a token

Pixel PixelAt(const OwnedBytes& bytes, int64_t offset) {
  const uint8_t* first = bytes.data() + offset;
  return {first[0], first[1], first[2]};
}

// What a row's values are made of.
Pixel ColourOf(const Frames& frames, int64_t row) {
  const int64_t slice = row / (frames.grid.h * frames.grid.w / kMergeUnit);
  const int64_t frame = std::clamp<int64_t>(2 * slice, 0, std::max<int64_t>(frames.frame_count - 1, 0));
  return PixelAt(frames.rgb, frame * frames.height * frames.width * 3);
}
Pixel ColourOf(const PatchRows& patches, int64_t row) {
  const int64_t patch_bytes = static_cast<int64_t>(patches.values.size()) / patches.grid.patches();
  return PixelAt(patches.values, row * kMergeUnit * patch_bytes);
}

float ValueOf(Pixel pixel, const GridThw& grid, int64_t row, int64_t col, int64_t output) {
  const int64_t colour = pixel[0] + 2 * pixel[1] + 3 * pixel[2];
  const int64_t place = 5 * grid.h + 7 * grid.w + 11 * row + 13 * col + 17 * output;
  return static_cast<float>((colour + place) % 199);
}

bool Is(Pixel pixel, const uint8_t (&mark)[3]) {
  return std::equal(pixel.begin(), pixel.end(), std::begin(mark), std::end(mark));
}

bool IsPoison(const TowerInput& input) {
  return std::visit([](const auto* item) { return Is(ColourOf(*item, 0), kPoisonPixel); }, input);
}

float ValueOrMark(const TowerInput& input, int64_t row, int64_t rows, int64_t col, int64_t output) {
  return std::visit(
      [&](const auto* item) {
        if (row + 1 == rows && Is(ColourOf(*item, 0), kNanPixel)) return std::numeric_limits<float>::quiet_NaN();
        if (row + 1 == rows && Is(ColourOf(*item, 0), kHugePixel)) return 1e5F;
        return PuppetValue(*item, row, col, output);
      },
      input);
}

HostTensor MakeTensor(absl::Span<const TowerInput> items, int64_t output, const EncoderInfo& info) {
  std::vector<float> values;
  for (const TowerInput& item : items) {
    const int64_t rows = GridOf(item).patches() / info.tower.merge_unit();
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t col = 0; col < info.tower.out_hidden_size; ++col) {
        values.push_back(ValueOrMark(item, row, rows, col, output));
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

void Puppet::SetPoison(Mood mood) {
  MutexLock lock(mu_);
  poison_ = mood;
}

void Puppet::SetMemory(int64_t patches) {
  MutexLock lock(mu_);
  memory_patches_ = patches;
}

Puppet::Mood Puppet::Begin(std::vector<GridThw> grids, bool poisoned) {
  int64_t patches = 0;
  for (const GridThw& grid : grids) patches += grid.patches();
  MutexLock lock(mu_);
  batches_.push_back(std::move(grids));
  changed_.NotifyAll();
  while (held_) changed_.Wait(mu_);
  if (patches > memory_patches_) return Mood::kNoMemory;
  return poisoned ? poison_ : mood_;
}

float PuppetValue(const Frames& frames, int64_t row, int64_t col, int64_t output) {
  return ValueOf(ColourOf(frames, row), frames.grid, row, col, output);
}
float PuppetValue(const PatchRows& patches, int64_t row, int64_t col, int64_t output) {
  return ValueOf(ColourOf(patches, row), patches.grid, row, col, output);
}

class PuppetEncoder final : public Encoder {
 public:
  PuppetEncoder(std::shared_ptr<Puppet> puppet, EncoderInfo info)
      : puppet_(std::move(puppet)), info_(std::move(info)) {}

  const EncoderInfo& info() const override { return info_; }

  absl::StatusOr<EncodedBatch> Forward(absl::Span<const TowerInput> items, const OutputSet& wanted) override {
    const auto begun_at = std::chrono::steady_clock::now();
    std::vector<GridThw> grids;
    bool poisoned = false;
    for (const TowerInput& item : items) {
      grids.push_back(GridOf(item));
      poisoned = poisoned || IsPoison(item);
    }
    const Puppet::Mood mood = puppet_->Begin(std::move(grids), poisoned);
    if (mood == Puppet::Mood::kNoMemory) return absl::ResourceExhaustedError("secret reason");
    if (mood == Puppet::Mood::kFail) return absl::InternalError("secret reason");
    if (mood == Puppet::Mood::kThrow) throw std::runtime_error("secret reason");
    EncodedBatch batch = Encode(items, wanted);
    if (mood == Puppet::Mood::kTooFewRows) --batch.token_offsets.back();
    batch.times.blocks = std::chrono::steady_clock::now() - begun_at;
    return batch;
  }

 private:
  EncodedBatch Encode(absl::Span<const TowerInput> items, const OutputSet& wanted) const {
    EncodedBatch batch;
    batch.token_offsets.push_back(0);
    for (const TowerInput& item : items) {
      batch.token_offsets.push_back(batch.token_offsets.back() + GridOf(item).patches() / info_.tower.merge_unit());
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

std::unique_ptr<Encoder> MakePuppetEncoder(std::shared_ptr<Puppet> puppet, DType dtype, const std::string& device) {
  EncoderInfo info = PuppetInfo(dtype);
  info.device = device;
  return std::make_unique<PuppetEncoder>(std::move(puppet), std::move(info));
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
  info.video_processor = VideoProcessorConfig();
  info.video_processor->min_pixels = 4096;
  info.video_processor->max_pixels = 1 << 24;
  return info;
}

}  // namespace vitower
