// Encoded clips: one of docs/samples, whole and mistreated. Pixels are compared in tests/parity/test_video.py.
#include "preprocess/video.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>
#include <string_view>
#include <thread>

namespace vitower {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr VideoLimits kVideoLimits = {.max_frame_pixels = 1 << 22, .max_seconds = 100, .max_frames = 1000};
const ClipOptions kSampleOptions = {.min_pixels = 4096, .max_pixels = 1 << 18, .max_patches = 1 << 16};

std::vector<uint8_t> Sample(const std::string& name) {
  std::ifstream file(std::string(VITOWER_SAMPLES_DIR) + "/" + name, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

absl::StatusOr<Clip> DecodeSampled(const std::vector<uint8_t>& bytes, const SamplingOptions& sampling = {}) {
  return DecodeVideo(bytes, kVideoLimits, sampling, kSampleOptions);
}

std::string Message(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(Video, TheHeaderSaysWhatTheClipHolds) {
  const absl::StatusOr<VideoHeader> header = ProbeVideo(Sample("pan.mp4"), kVideoLimits);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->container, "mp4");
  EXPECT_EQ(header->codec, "h264");
  EXPECT_EQ(header->size, (ImageSize{.height = 270, .width = 480}));
  EXPECT_EQ(header->fps, 30);
  EXPECT_EQ(header->frame_count, 90);
  EXPECT_DOUBLE_EQ(header->duration_seconds, 3);
}

TEST(Video, AGifIsAClipToo) {
  const absl::StatusOr<VideoHeader> header = ProbeVideo(Sample("turning.gif"), kVideoLimits);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->frame_count, 3);
  const absl::StatusOr<Clip> clip = DecodeSampled(Sample("turning.gif"));
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_THAT(clip->frame_indices, ElementsAre(0, 1, 2));
  EXPECT_TRUE(clip->padded);
}

// Of 1 x 1 pixel; so many frames at 10 a second, then as many at 5.
std::vector<uint8_t> SlowingGif(int frames) {
  std::string gif("GIF89a\x01\0\x01\0\0\0\0", 13);
  for (int i = 0; i < 2 * frames; ++i) {
    gif += std::string("\x21\xF9\x04\x04", 4) + (i < frames ? '\x0A' : '\x14') + std::string("\0\0\0", 3);
    gif += std::string("\x2C\0\0\0\0\x01\0\x01\0\x80\0\0\0\xFF\xFF\xFF\x02\x02\x44\x01\0", 21);
  }
  gif += '\x3B';
  return {gif.begin(), gif.end()};
}

TEST(Video, AHeaderThatIsSilentIsNoReasonToReadAllOfTheClip) {
  const VideoLimits limits = {.max_frame_pixels = 1, .max_seconds = 1000, .max_frames = 10'000};
  const absl::StatusOr<VideoHeader> small = ProbeVideo(SlowingGif(400), limits);
  ASSERT_TRUE(small.ok()) << small.status();
  EXPECT_EQ(small->frame_count, 800);
  EXPECT_NEAR(*small->fps, 6.67, 0.01);
  const absl::StatusOr<VideoHeader> large = ProbeVideo(SlowingGif(2000), limits);
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_NEAR(static_cast<double>(large->frame_count), 4000, 40);
  EXPECT_NEAR(*large->fps, 10, 0.01);  // by its beginning
}

TEST(Video, TheClipCarriesWhatWasSampled) {
  const absl::StatusOr<Clip> clip = DecodeSampled(Sample("pan.mp4"));
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_THAT(clip->frame_indices, ElementsAre(0, 18, 36, 53, 71, 89));
  EXPECT_EQ(clip->source_fps, 30);
  EXPECT_THAT(clip->slice_timestamps,
              ElementsAre((0 + 18 / 30.0) / 2, (36 / 30.0 + 53 / 30.0) / 2, (71 / 30.0 + 89 / 30.0) / 2));
  EXPECT_EQ(clip->frames.frame_count, 6);
  EXPECT_EQ(clip->frames.grid.t, 3);
  EXPECT_EQ(static_cast<int64_t>(clip->frames.rgb.size()), 6 * clip->frames.height * clip->frames.width * 3);
  EXPECT_FALSE(clip->padded);
  EXPECT_GT(clip->decode_time.count(), 0);
  EXPECT_GT(clip->resize_time.count(), 0);
}

TEST(Video, IndicesCountFromTheBeginningOfTheWholeClip) {
  const absl::StatusOr<Clip> clip =
      DecodeSampled(Sample("pan.mp4"), {.num_frames = 2, .start_seconds = 1.5, .end_seconds = 2});
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_THAT(clip->frame_indices, ElementsAre(45, 59));
}

TEST(Video, EveryCutOfTheFileIsAnError) {
  const std::vector<uint8_t> bytes = Sample("pan.mp4");
  for (size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 200) {
    const absl::StatusOr<Clip> clip = DecodeSampled({bytes.begin(), bytes.begin() + static_cast<int64_t>(size)});
    ASSERT_FALSE(clip.ok()) << size;
    EXPECT_THAT(Message(clip.status()), AnyOf(HasSubstr("truncated"), HasSubstr("empty"), HasSubstr("unknown")));
  }
}

TEST(Video, DamagedBytesGiveAllFramesOrAnError) {
  std::mt19937 random(8);
  const std::vector<uint8_t> bytes = Sample("pan.mp4");
  int refused = 0;
  for (int round = 0; round < 60; ++round) {
    std::vector<uint8_t> damaged = bytes;
    const size_t reach = round % 2 == 0 ? damaged.size() : size_t{3000};
    for (int i = 0; i <= round % 4; ++i) damaged[random() % reach] = static_cast<uint8_t>(random());
    const absl::StatusOr<Clip> clip = DecodeSampled(damaged, {.num_frames = 5});
    refused += clip.ok() ? 0 : 1;
    EXPECT_TRUE(!clip.ok() || clip->frames.frame_count == 5);
  }
  EXPECT_GT(refused, 8);
}

TEST(Video, WhatIsNoClipIsRefusedByName) {
  const auto refusal = [](std::string_view text) {
    return Message(ProbeVideo(std::vector<uint8_t>(text.begin(), text.end()), kVideoLimits).status());
  };
  EXPECT_EQ(refusal(""), "video is empty: 0 bytes");
  EXPECT_THAT(refusal("hello, I am a text"), HasSubstr("it begins with the bytes \"hello, I am \""));
  EXPECT_THAT(refusal("#EXTM3U\nhttp://example.com/a.ts\n"), HasSubstr("unknown video format"));
  EXPECT_THAT(refusal("ffconcat version 1.0\nfile /etc/passwd\n"), HasSubstr("unknown video format"));
  EXPECT_THAT(refusal({"\0\0\0\x10"
                       "ftypisom\0\0\0\0",
                       16}),
              HasSubstr("no moov box"));
  EXPECT_THAT(refusal({"RIFF\x04\0\0\0AVI ", 12}), HasSubstr("avi"));
  EXPECT_THAT(refusal("GIF89a\x05"), HasSubstr("gif video"));
  EXPECT_THAT(refusal("\x1A\x45\xDF\xA3\xFF\xFF"), HasSubstr("matroska video"));
}

TEST(Video, LimitsHoldBeforeAnythingIsDecoded) {
  const std::vector<uint8_t> bytes = Sample("pan.mp4");
  VideoLimits limits = kVideoLimits;
  limits.max_frames = 89;
  EXPECT_THAT(Message(ProbeVideo(bytes, limits).status()), HasSubstr("90 frames, the limit is 89"));
  limits = kVideoLimits;
  limits.max_seconds = 2.5;
  EXPECT_THAT(Message(ProbeVideo(bytes, limits).status()), HasSubstr("3 s long, the limit is 2.5 s"));
  limits = kVideoLimits;
  limits.max_frame_pixels = 480 * 270 - 1;
  EXPECT_THAT(Message(ProbeVideo(bytes, limits).status()), HasSubstr("129600 pixels, the limit is 129599"));
  ClipOptions options = kSampleOptions;
  options.max_patches = 10;
  EXPECT_THAT(Message(DecodeVideo(bytes, kVideoLimits, {}, options).status()), HasSubstr("the limit is 10"));
}

TEST(Video, DecodingEndsWhereverItIsOnceNobodyWaitsForTheClip) {
  const std::vector<uint8_t> bytes = Sample("pan.mp4");
  int questions = 0;
  ClipOptions options = kSampleOptions;
  options.gone = [&] { return ++questions < 0; };
  ASSERT_TRUE(DecodeVideo(bytes, kVideoLimits, {}, options).ok());
  const int all = questions;
  EXPECT_GE(all, 20);  // 90 packets, first scanned and then decoded
  for (int last = 1; last <= all; ++last) {
    questions = 0;
    options.gone = [&] { return ++questions == last; };
    EXPECT_TRUE(absl::IsCancelled(DecodeVideo(bytes, kVideoLimits, {}, options).status()));
    EXPECT_EQ(questions, last);
  }
}

TEST(Video, ManyThreadsDecodeAtOnce) {
  const std::vector<uint8_t> bytes = Sample("pan.mp4");
  const absl::StatusOr<Clip> want = DecodeSampled(bytes);
  ASSERT_TRUE(want.ok());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const absl::StatusOr<Clip> clip = DecodeSampled(bytes);
      ASSERT_TRUE(clip.ok()) << clip.status();
      EXPECT_TRUE(std::equal(want->frames.rgb.begin(), want->frames.rgb.end(), clip->frames.rgb.begin()));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace vitower
