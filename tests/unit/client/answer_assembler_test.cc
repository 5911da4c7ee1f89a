#include "client/answer_assembler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace vitower {
namespace {

using ::testing::HasSubstr;

v1::EmbedStreamResponse ResultOf(uint64_t key, const std::vector<uint64_t>& byte_counts) {
  v1::EmbedStreamResponse message;
  message.set_key(key);
  message.mutable_result();
  for (uint64_t bytes : byte_counts) message.mutable_result()->add_outputs()->set_byte_count(bytes);
  return message;
}

v1::EmbedStreamResponse Part(uint64_t key, uint32_t output, uint64_t offset, const std::string& data) {
  v1::EmbedStreamResponse message;
  message.set_key(key);
  message.mutable_part()->set_output(output);
  message.mutable_part()->set_offset(offset);
  message.mutable_part()->set_data(data);
  return message;
}

TEST(AnswerAssembler, AResultWithoutAnnouncedBytesIsCompleteAtOnce) {
  AnswerAssembler assembler;
  const auto answer = assembler.Take(ResultOf(3, {}));
  ASSERT_TRUE(answer.ok() && *answer);
  EXPECT_EQ((*answer)->key, 3U);
}

TEST(AnswerAssembler, PartsOfSeveralOutputsAndAnswersMayAlternate) {
  AnswerAssembler assembler;
  for (uint64_t key : {1, 2}) EXPECT_FALSE(assembler.Take(ResultOf(key, {2, 3}))->has_value());
  EXPECT_FALSE(assembler.Take(Part(1, 0, 0, "ab"))->has_value());
  EXPECT_FALSE(assembler.Take(Part(2, 1, 0, "xy"))->has_value());
  EXPECT_FALSE(assembler.Take(Part(2, 0, 0, "ef"))->has_value());
  const auto first = assembler.Take(Part(1, 1, 0, "cde"));
  ASSERT_TRUE(first.ok() && *first);
  EXPECT_EQ((*first)->result.outputs(0).data() + (*first)->result.outputs(1).data(), "abcde");
  const auto second = assembler.Take(Part(2, 1, 2, "z"));
  ASSERT_TRUE(second.ok() && *second);
  EXPECT_EQ((*second)->result.outputs(0).data() + (*second)->result.outputs(1).data(), "efxyz");
}

TEST(AnswerAssembler, WhatBreaksTheProtocolIsNamedWithItsKey) {
  const std::vector<std::pair<v1::EmbedStreamResponse, std::string>> cases = {
      {Part(8, 0, 0, "a"), "belongs to no result"},
      {Part(7, 2, 0, "a"), "output 2 of 1"},
      {Part(7, 0, 1, "a"), "at byte 1 where byte 0"},
      {Part(7, 0, 0, "abcd"), "of 4 bytes where 3 are left"},
      {Part(7, 0, 0, ""), "of 0 bytes where 3 are left"},
      {ResultOf(7, {}), "second result"},
      {v1::EmbedStreamResponse(), "is empty"}};
  for (const auto& [message, expected] : cases) {
    AnswerAssembler assembler;
    EXPECT_FALSE(assembler.Take(ResultOf(7, {3}))->has_value());
    const absl::Status status = assembler.Take(message).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(status.message()), HasSubstr(expected));
    EXPECT_THAT(std::string(status.message()), HasSubstr("key " + std::to_string(message.key())));
  }
}

TEST(AnswerAssembler, AnAnnouncementOfMoreThanThereIsMemoryReservesLittle) {
  AnswerAssembler assembler;
  EXPECT_FALSE(assembler.Take(ResultOf(1, {uint64_t{1} << 60}))->has_value());
  const auto part = assembler.Take(Part(1, 0, 0, "a"));
  EXPECT_TRUE(part.ok() && !part->has_value());
}

}  // namespace
}  // namespace vitower
