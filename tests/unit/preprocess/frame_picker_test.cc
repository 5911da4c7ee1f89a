// What is decoded of a clip of 90 frames whose key packets are 0, 30 and 60.
#include "preprocess/frame_picker.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

namespace vitower {
namespace {

// How many packets the decoder got until these frames were out.
int64_t PacketsFor(std::vector<int64_t> wanted) {
  constexpr VideoLimits kEnough = {.max_frame_pixels = 1 << 22, .max_seconds = 100, .max_frames = 1000};
  std::ifstream file(std::string(VITOWER_SAMPLES_DIR) + "/pan.mp4", std::ios::binary);
  const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
  absl::StatusOr<VideoReader> scanned = VideoReader::Open(bytes);
  EXPECT_TRUE(scanned.ok()) << scanned.status();
  const absl::StatusOr<PacketIndex> index = ScanPackets(*scanned, kEnough);
  EXPECT_TRUE(index.ok()) << index.status();
  absl::StatusOr<VideoReader> reader = VideoReader::Open(bytes);
  absl::StatusOr<VideoDecoder> decoder = VideoDecoder::Create(reader->stream(), index->reorder_depth, kEnough);
  EXPECT_TRUE(decoder.ok()) << decoder.status();
  size_t taken = 0;
  const auto sink = [&taken](const AVFrame&) {
    ++taken;
    return absl::OkStatus();
  };
  const absl::Status picked = PickByTime(*reader, *decoder, *index, wanted, sink);
  EXPECT_TRUE(picked.ok()) << picked;
  EXPECT_EQ(taken, wanted.size());
  return decoder->packets();
}

TEST(FramePicker, DecodingEndsWithTheLastFrameWanted) {
  EXPECT_LE(PacketsFor({0}), 1 + 16);  // as many as a decoder may hold back
  EXPECT_LE(PacketsFor({10}), 11 + 16);
}

TEST(FramePicker, DecodingBeginsAtTheKeyPacketBeforeTheFirstFrameWanted) {
  EXPECT_EQ(PacketsFor({89}), 30);
  EXPECT_EQ(PacketsFor({59, 89}), 60);
}

TEST(FramePicker, WhatLiesBetweenAFrameAndTheNextKeyPacketIsLeftOut) {
  EXPECT_LE(PacketsFor({0, 89}), 1 + 16 + 30);
  EXPECT_LE(PacketsFor({0, 60}), 2 * (1 + 16));
}

}  // namespace
}  // namespace vitower
