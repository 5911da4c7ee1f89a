#include "tests/support/timed_encoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "server/cast.h"
#include "server/mutex.h"

namespace vitower {
namespace {

constexpr int64_t kPeriod = 128;
constexpr size_t kMarkValues = 4;
using Mark = std::array<uint16_t, kMarkValues>;

uint16_t PatternAt(int64_t col) { return Bf16FromFloat(static_cast<float>(col % kPeriod)); }

// Rows of the pattern, and where marks were written over it.
struct Slab {
  std::vector<uint16_t> values;
  std::vector<size_t> marked_at;
};

// Slabs that no reply reads any more. Outlives the encoder: replies give slabs back when they like. Thread-safe.
class SlabPool final {
 public:
  explicit SlabPool(int64_t cols) : cols_(cols) {}

  std::unique_ptr<Slab> Take(int64_t rows) {
    const size_t needed = static_cast<size_t>(rows * cols_);
    {
      MutexLock lock(mu_);
      const auto fits = std::find_if(free_.begin(), free_.end(),
                                     [needed](const auto& slab) { return slab->values.size() >= needed; });
      if (fits != free_.end()) {
        std::unique_ptr<Slab> slab = std::move(*fits);
        free_.erase(fits);
        return slab;
      }
    }
    auto slab = std::make_unique<Slab>();
    slab->values.resize(needed);
    for (size_t i = 0; i < needed; ++i) slab->values[i] = PatternAt(static_cast<int64_t>(i) % cols_);
    return slab;
  }

  void Return(std::unique_ptr<Slab> slab) {
    for (const size_t at : slab->marked_at) {
      for (size_t i = 0; i < kMarkValues; ++i) slab->values[at + i] = PatternAt(static_cast<int64_t>(i));
    }
    slab->marked_at.clear();
    MutexLock lock(mu_);
    free_.push_back(std::move(slab));
  }

 private:
  const int64_t cols_;
  Mutex mu_;
  std::vector<std::unique_ptr<Slab>> free_ ABSL_GUARDED_BY(mu_);
};

// When the device computes what. Thread-safe.
class Timetable final {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  struct Turn {
    TimePoint free_at;  // the passes before it are over
    TimePoint begin;
    TimePoint end;
  };

  Turn Take(TimePoint uploaded_at, std::chrono::nanoseconds length) {
    MutexLock lock(mu_);
    Turn turn;
    turn.free_at = free_at_;
    turn.begin = std::max(free_at_, uploaded_at);
    turn.end = free_at_ = turn.begin + length;
    return turn;
  }

 private:
  Mutex mu_;
  TimePoint free_at_ ABSL_GUARDED_BY(mu_);
};

const uint8_t* FirstBytes(const TowerInput& input) {
  if (const auto* frames = std::get_if<const Frames*>(&input)) return (*frames)->rgb.data();
  return std::get<const PatchRows*>(input)->values.data();
}

EncoderInfo InfoOf(const TimedEncoderOptions& options) {
  EncoderInfo info;
  info.name = "timed-puppet";
  info.fingerprint = "71bed";
  info.device = options.device;
  info.dtype = DType::kBf16;
  info.tower.depth = 24;
  info.tower.hidden_size = 1024;
  info.tower.num_heads = 16;
  info.tower.intermediate_size = 4096;
  info.tower.out_hidden_size = options.out_hidden_size;
  for (int64_t i = 0; i < options.deepstack_levels; ++i) {
    info.tower.deepstack_visual_indexes.push_back(5 + 6 * i);
  }
  info.image_processor.min_pixels = 65'536;
  info.image_processor.max_pixels = 16'777'216;
  info.video_processor.emplace();
  info.video_processor->min_pixels = 4096;
  info.video_processor->max_pixels = 25'165'824;
  return info;
}

class TimedEncoder final : public Encoder {
 public:
  TimedEncoder(const TimedEncoderOptions& options, std::shared_ptr<Timetable> timetable)
      : options_(options),
        info_(InfoOf(options)),
        pool_(std::make_shared<SlabPool>(options.out_hidden_size)),
        timetable_(std::move(timetable)) {}

  const EncoderInfo& info() const override { return info_; }

  absl::StatusOr<EncodedBatch> Forward(absl::Span<const TowerInput> items, const OutputSet& wanted) override {
    const auto begun_at = std::chrono::steady_clock::now();
    EncodedBatch batch;
    batch.token_offsets.push_back(0);
    for (const TowerInput& item : items) {
      batch.token_offsets.push_back(batch.token_offsets.back() + GridOf(item).patches() / info_.tower.merge_unit());
    }
    const int64_t patches = batch.token_offsets.back() * info_.tower.merge_unit();
    const Timetable::Turn turn = timetable_->Take(begun_at + options_.upload, PassTime(patches));
    if (wanted.tokens) batch.tokens = MakeOutput(items, batch.token_offsets, 0);
    batch.deepstack.resize(wanted.deepstack.size());
    for (size_t i = 0; i < wanted.deepstack.size(); ++i) {
      if (wanted.deepstack[i]) batch.deepstack[i] = MakeOutput(items, batch.token_offsets, static_cast<int64_t>(i) + 1);
    }
    std::this_thread::sleep_until(turn.end);
    batch.times.behind = std::max(turn.free_at - begun_at, std::chrono::nanoseconds(0));
    batch.times.upload = turn.begin - begun_at - batch.times.behind;
    batch.times.blocks = std::chrono::steady_clock::now() - turn.begin;
    return batch;
  }

 private:
  std::chrono::nanoseconds PassTime(int64_t patches) const {
    const auto by_patches = static_cast<int64_t>(1000 * options_.us_per_patch * static_cast<double>(patches));
    return std::max<std::chrono::nanoseconds>(options_.shortest, std::chrono::nanoseconds(by_patches));
  }

  HostTensor MakeOutput(absl::Span<const TowerInput> items, const std::vector<int64_t>& offsets, int64_t output) {
    std::unique_ptr<Slab> slab = pool_->Take(offsets.back());
    for (size_t i = 0; i < items.size(); ++i) {
      const size_t at = static_cast<size_t>(offsets[i] * options_.out_hidden_size);
      const uint8_t* bytes = FirstBytes(items[i]);
      const Mark mark = {Bf16FromFloat(bytes[0]), Bf16FromFloat(bytes[1]), Bf16FromFloat(bytes[2]),
                         Bf16FromFloat(static_cast<float>(output))};
      std::copy(mark.begin(), mark.end(), slab->values.begin() + static_cast<ptrdiff_t>(at));
      slab->marked_at.push_back(at);
    }
    HostTensor tensor;
    tensor.rows = offsets.back();
    tensor.cols = options_.out_hidden_size;
    tensor.dtype = DType::kBf16;
    const auto* data = reinterpret_cast<const std::byte*>(slab->values.data());
    tensor.data = std::shared_ptr<const std::byte>(
        data, [pool = pool_, owned = slab.release()](const std::byte*) { pool->Return(std::unique_ptr<Slab>(owned)); });
    return tensor;
  }

  const TimedEncoderOptions options_;
  const EncoderInfo info_;
  const std::shared_ptr<SlabPool> pool_;
  const std::shared_ptr<Timetable> timetable_;
};

}  // namespace

std::vector<std::unique_ptr<Encoder>> MakeTimedDevice(const TimedEncoderOptions& options, int64_t encoders) {
  const auto timetable = std::make_shared<Timetable>();
  std::vector<std::unique_ptr<Encoder>> device;
  for (int64_t i = 0; i < encoders; ++i) device.push_back(std::make_unique<TimedEncoder>(options, timetable));
  return device;
}

}  // namespace vitower
