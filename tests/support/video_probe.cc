// Lets a script drive preprocess/video.h. Requests on stdin until end of file: a line of JSON, then the bytes that its
// "sizes" count, blob behind blob. Answers on stdout: a line of JSON, then "rgb_bytes" bytes of resized frames.
//   {"mode": "probe"}    a clip                          -> its header
//   {"mode": "video"}    a clip                          -> the sampled clip
//   {"mode": "list"}     encoded images                  -> the same; "source_fps"
//   {"mode": "raw"}      RGB, "frames" "height" "width"  -> the same; "source_fps"
//   {"mode": "size"}     "frames" "height" "width"       -> the size rule's answer
//   {"mode": "sample"}   "total", "source_fps"           -> indices and timestamps
// "sampling", "limits" and "options" hold the fields of the structs of the same name. "discard" leaves the pixels out.
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "preprocess/video.h"

namespace vitower {
namespace {

using nlohmann::json;
using Blobs = std::vector<std::vector<uint8_t>>;

template <typename T>
std::optional<T> Optional(const json& object, const char* name) {
  return object.contains(name) ? std::optional<T>(object[name].get<T>()) : std::nullopt;
}

VideoLimits LimitsOf(const json& request) {
  const json limits = request.value("limits", json::object());
  return {.max_frame_pixels = limits.value("max_frame_pixels", int64_t{1} << 24),
          .max_seconds = limits.value("max_seconds", 7200.0),
          .max_frames = limits.value("max_frames", int64_t{200'000})};
}

SamplingOptions SamplingOf(const json& request) {
  const json sampling = request.value("sampling", json::object());
  SamplingOptions options;
  options.fps = sampling.value("fps", options.fps);
  options.num_frames = Optional<int64_t>(sampling, "num_frames");
  options.min_frames = sampling.value("min_frames", options.min_frames);
  options.max_frames = sampling.value("max_frames", options.max_frames);
  options.start_seconds = Optional<double>(sampling, "start_seconds");
  options.end_seconds = Optional<double>(sampling, "end_seconds");
  return options;
}

ClipOptions OptionsOf(const json& request) {
  const json given = request.value("options", json::object());
  ClipOptions options;
  options.do_resize = given.value("do_resize", true);
  options.min_pixels = given.value("min_pixels", int64_t{4096});
  options.max_pixels = given.value("max_pixels", int64_t{25'165'824});
  options.max_patches = given.value("max_patches", int64_t{1} << 20);
  return options;
}

json Error(const absl::Status& status) {
  return {{"error", std::string(status.message())}, {"code", static_cast<int>(status.code())}};
}

json HeaderAnswer(const absl::StatusOr<VideoHeader>& header) {
  if (!header.ok()) return Error(header.status());
  json answer = {{"container", header->container},     {"codec", header->codec},
                 {"height", header->size.height},      {"width", header->size.width},
                 {"frame_count", header->frame_count}, {"duration_seconds", header->duration_seconds}};
  if (header->fps) answer["fps"] = *header->fps;
  return answer;
}

json ClipAnswer(const Clip& clip) {
  const GridThw& grid = clip.frames.grid;
  const auto milliseconds = [](std::chrono::nanoseconds time) { return static_cast<double>(time.count()) / 1e6; };
  json answer = {{"frames", clip.frames.frame_count},
                 {"height", clip.frames.height},
                 {"width", clip.frames.width},
                 {"grid", {grid.t, grid.h, grid.w}},
                 {"indices", clip.frame_indices},
                 {"timestamps", clip.slice_timestamps},
                 {"padded", clip.padded},
                 {"decode_ms", milliseconds(clip.decode_time)},
                 {"resize_ms", milliseconds(clip.resize_time)}};
  if (clip.source_fps) answer["source_fps"] = *clip.source_fps;
  return answer;
}

absl::StatusOr<Clip> MakeClipOf(const json& request, Blobs blobs) {
  const std::string mode = request["mode"];
  const ClipOptions options = OptionsOf(request);
  if (mode == "video") return DecodeVideo(blobs[0], LimitsOf(request), SamplingOf(request), options);
  const std::optional<double> fps = Optional<double>(request, "source_fps");
  std::optional<SamplingOptions> sampling;
  if (request.contains("sampling")) sampling = SamplingOf(request);
  if (mode == "list") {
    const std::vector<absl::Span<const uint8_t>> images(blobs.begin(), blobs.end());
    return DecodeFrameList(images, fps, sampling, LimitsOf(request), ImageOptions{}, options);
  }
  const ImageSize size = {.height = request["height"], .width = request["width"]};
  return ResizeClip(std::move(blobs[0]), request["frames"], size, fps, sampling, options);
}

json SizeAnswer(const json& request) {
  const ImageSize size = {.height = request["height"], .width = request["width"]};
  const absl::StatusOr<ImageSize> target = VideoSmartResize(request["frames"], size, OptionsOf(request));
  if (!target.ok()) return Error(target.status());
  return {{"height", target->height}, {"width", target->width}};
}

json SampleAnswer(const json& request) {
  const std::optional<double> fps = Optional<double>(request, "source_fps");
  const absl::StatusOr<std::vector<int64_t>> indices = SampleFrames(request["total"], fps, SamplingOf(request));
  if (!indices.ok()) return Error(indices.status());
  return {{"indices", *indices}, {"timestamps", SliceTimestamps(*indices, fps.value_or(24), 2)}};
}

Blobs ReadBlobs(const json& request) {
  Blobs blobs;
  for (const int64_t size : request.value("sizes", std::vector<int64_t>())) {
    blobs.emplace_back(static_cast<size_t>(size));
    std::cin.read(reinterpret_cast<char*>(blobs.back().data()), size);
  }
  return blobs;
}

// The process's largest resident set so far.
int64_t PeakKib() {
  std::ifstream status("/proc/self/status");
  std::string word;
  int64_t kib = 0;
  while (status >> word) {
    if (word == "VmHWM:" && status >> kib) return kib;
  }
  return 0;
}

void Answer(const json& request, Blobs blobs) {
  const std::string mode = request["mode"];
  if (mode == "probe" || mode == "size" || mode == "sample") {
    const json answer = mode == "probe"  ? HeaderAnswer(ProbeVideo(blobs[0], LimitsOf(request)))
                        : mode == "size" ? SizeAnswer(request)
                                         : SampleAnswer(request);
    std::cout << answer << '\n';
    return;
  }
  const absl::StatusOr<Clip> clip = MakeClipOf(request, std::move(blobs));
  json answer = clip.ok() ? ClipAnswer(*clip) : Error(clip.status());
  const size_t bytes = clip.ok() && !request.value("discard", false) ? clip->frames.rgb.size() : 0;
  answer["rgb_bytes"] = bytes;
  answer["peak_rss_kib"] = PeakKib();
  std::cout << answer << '\n';
  if (bytes > 0) {
    std::cout.write(reinterpret_cast<const char*>(clip->frames.rgb.data()), static_cast<std::streamsize>(bytes));
  }
}

}  // namespace
}  // namespace vitower

int main() {
  std::ios::sync_with_stdio(false);
  std::string line;
  while (std::getline(std::cin, line)) {
    const nlohmann::json request = nlohmann::json::parse(line);
    vitower::Answer(request, vitower::ReadBlobs(request));
    std::cout.flush();
  }
  return std::cout ? 0 : 1;
}
