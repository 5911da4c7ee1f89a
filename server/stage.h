#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace vitower {

inline double Seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

// The way of an item, in order. See docs/design.md, "Metrics", for where each begins and ends.
enum class Stage : uint8_t {
  kReceive,
  kAdmit,
  kDecode,
  kResize,
  kQueue,
  kUpload,
  kPatchEmbed,
  kPosition,
  kBlocks,
  kMerger,
  kDownload,
  kEncode,
  kSend,
};

inline constexpr std::array<std::string_view, 13> kStageNames = {
    "receive",  "admit",  "decode", "resize",   "queue",  "upload", "patch_embed",
    "position", "blocks", "merger", "download", "encode", "send"};
inline constexpr size_t kStageCount = kStageNames.size();

constexpr std::string_view Name(Stage stage) { return kStageNames[static_cast<size_t>(stage)]; }
constexpr bool IsDeviceStage(Stage stage) { return stage >= Stage::kUpload && stage <= Stage::kDownload; }

// What one item spent in each stage; negative where it never got there.
class StageTimes final {
 public:
  StageTimes() { spent_.fill(kNotReached); }

  void Set(Stage stage, std::chrono::nanoseconds spent) { spent_[static_cast<size_t>(stage)] = spent; }
  bool reached(Stage stage) const { return spent_[static_cast<size_t>(stage)] != kNotReached; }
  // 0 where it never got there; likewise in seconds.
  std::chrono::nanoseconds spent(Stage stage) const {
    return reached(stage) ? spent_[static_cast<size_t>(stage)] : std::chrono::nanoseconds(0);
  }
  double seconds(Stage stage) const { return Seconds(spent(stage)); }

 private:
  static constexpr std::chrono::nanoseconds kNotReached{-1};
  std::array<std::chrono::nanoseconds, kStageCount> spent_;
};

}  // namespace vitower
