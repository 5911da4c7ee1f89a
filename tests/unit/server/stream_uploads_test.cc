#include "server/stream_uploads.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "server/metrics.h"

namespace vitower {
namespace {

using Outcome = StreamUploads::Added::Outcome;
using testing::HasSubstr;

StreamRequest Part(uint64_t key, uint64_t offset, uint64_t total, const std::string& data) {
  StreamRequest part;
  part.key = key;
  part.body = StreamRequest::Body::kPart;
  part.part_offset = offset;
  part.part_total = total;
  if (!data.empty()) part.payload.emplace_back(data);
  part.payload_bytes = data.size();
  return part;
}

std::string UploadedText(const std::vector<grpc::Slice>& slices) {
  std::string text;
  for (const grpc::Slice& slice : slices) text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return text;
}

class StreamUploadsTest : public testing::Test {
 protected:
  StreamUploads::Added Add(StreamRequest part, bool insist = true) { return uploads_.Add(part, TimePoint(), insist); }
  int64_t ReservedBytes() {
    const std::variant<Permit, Refusal> rest = admission_.TryAcquire({0, 0, 100});
    return std::holds_alternative<Permit>(rest) ? 0 : 1;
  }

  Metrics metrics_;
  SteadyClock clock_;
  Admission admission_{{/*queue_patches=*/10, /*inflight_bytes=*/100}, metrics_, clock_};
  StreamUploads uploads_{{/*max_count=*/3, /*max_bytes=*/90, /*max_held_bytes=*/80}, [this](int64_t bytes) {
                           return admission_.TryAcquire({0, 0, bytes});
                         }};
};

TEST_F(StreamUploadsTest, PutsPartsTogetherWhateverComesBetween) {
  EXPECT_EQ(Add(Part(1, 0, 6, "ab")).outcome, Outcome::kMore);
  EXPECT_EQ(Add(Part(2, 0, 3, "xy")).outcome, Outcome::kMore);
  EXPECT_EQ(Add(Part(1, 2, 6, "")).outcome, Outcome::kMore);
  EXPECT_EQ(uploads_.held_bytes(), 9);
  const auto two = Add(Part(2, 2, 3, "z"));
  ASSERT_EQ(two.outcome, Outcome::kWhole);
  EXPECT_EQ(UploadedText(two.whole.bytes), "xyz");
  EXPECT_EQ(UploadedText(Add(Part(1, 2, 6, "cdef")).whole.bytes), "abcdef");
  EXPECT_EQ(uploads_.count(), 0);
  EXPECT_EQ(uploads_.held_bytes(), 0);
}

TEST_F(StreamUploadsTest, HoldsTheRoomOfTheWholeFromTheFirstPartToTheLast) {
  Add(Part(1, 0, 60, "ab"));
  EXPECT_EQ(ReservedBytes(), 1);
  Add(Part(1, 2, 60, std::string(58, 'x')));
  EXPECT_EQ(ReservedBytes(), 0);
}

TEST_F(StreamUploadsTest, WhatFindsNoRoomIsReceivedToItsEndAndSaysWhy) {
  Add(Part(1, 0, 60, "ab"));
  EXPECT_EQ(Add(Part(2, 0, 60, "cd")).outcome, Outcome::kMore);
  EXPECT_EQ(uploads_.held_bytes(), 60);
  const auto whole = Add(Part(2, 2, 60, std::string(58, 'x')));
  ASSERT_EQ(whole.outcome, Outcome::kWhole);
  EXPECT_TRUE(whole.whole.bytes.empty());
  ASSERT_TRUE(whole.whole.refused);
  EXPECT_EQ(whole.whole.refused->fault, Fault::kBytesFull);
}

TEST_F(StreamUploadsTest, IncompleteItemsTogetherHoldNoMoreThanTheirShare) {
  Add(Part(1, 0, 50, "ab"));
  Add(Part(2, 0, 30, "ab"));
  Add(Part(3, 0, 1, ""));
  EXPECT_EQ(uploads_.held_bytes(), 80);
  const auto refused = Add(Part(3, 0, 1, "c"));
  ASSERT_TRUE(refused.whole.refused);
  EXPECT_THAT(refused.whole.refused->message, HasSubstr("hold 80 bytes, the item has 1"));
}

TEST_F(StreamUploadsTest, OneItemAloneMayHoldMore) {
  EXPECT_EQ(Add(Part(1, 0, 90, "ab")).outcome, Outcome::kMore);
  EXPECT_EQ(uploads_.held_bytes(), 90);
}

TEST_F(StreamUploadsTest, WithoutInsistingAPartThatFindsNoRoomMayBeTriedAgain) {
  Add(Part(1, 0, 60, "ab"));
  StreamRequest part = Part(2, 0, 60, "cd");
  EXPECT_EQ(uploads_.Add(part, TimePoint(), /*insist=*/false).outcome, Outcome::kNoRoom);
  EXPECT_FALSE(uploads_.Has(2));
  Add(Part(1, 2, 60, std::string(58, 'x')));
  EXPECT_EQ(uploads_.Add(part, TimePoint(), /*insist=*/false).outcome, Outcome::kMore);
  EXPECT_EQ(UploadedText(Add(Part(2, 2, 60, std::string(58, 'x'))).whole.bytes).substr(0, 3), "cdx");
}

TEST_F(StreamUploadsTest, ABrokenRuleIsNamed) {
  EXPECT_THAT(Add(Part(1, 0, 91, "a")).broken, HasSubstr("key 1: total is 91, above the limit of 90"));
  EXPECT_THAT(Add(Part(1, 1, 9, "a")).broken, HasSubstr("offset is 1; 0 bytes"));
  EXPECT_THAT(Add(Part(1, 0, UINT64_MAX, "a")).broken, HasSubstr("above the limit of 90"));
  Add(Part(1, 0, 9, "abc"));
  EXPECT_THAT(Add(Part(1, 3, 9, "defghij")).broken,
              HasSubstr("data has 7 bytes at offset 3, more than the total of 9"));
  EXPECT_THAT(Add(Part(1, 3, 10, "d")).broken, HasSubstr("total is 10; the first part of the item said 9"));
  Add(Part(2, 0, 9, "abc"));
  Add(Part(3, 0, 9, "abc"));
  EXPECT_THAT(Add(Part(4, 0, 9, "abc")).broken, HasSubstr("3 items of the stream are incomplete, the limit is 3"));
}

TEST_F(StreamUploadsTest, ClearGivesTheRoomBack) {
  Add(Part(1, 0, 60, "ab"));
  uploads_.Clear();
  EXPECT_EQ(ReservedBytes(), 0);
  EXPECT_FALSE(uploads_.Has(1));
}

}  // namespace
}  // namespace vitower
