#include "gateway/multipart.h"

#include <random>

#include <gtest/gtest.h>

namespace glowplug::gateway {
namespace {

// What has come so far, one line for each part: name|filename|content, and `.` where it has ended.
std::string shown(const std::vector<PartEvent>& events) {
  std::string text;
  for (const PartEvent& event : events) {
    if (event.kind == PartEvent::Kind::Begins)
      text += event.head.name + "|" + event.head.filename.value_or("-") + "|";
    text += event.content;
    if (event.kind == PartEvent::Kind::Ends) text += ".\n";
  }
  return text;
}

struct Read {
  std::string text;
  std::string fault;
  bool complete = false;
};

Read read(std::string_view body, std::vector<std::size_t> cuts, const std::string& boundary = "b") {
  MultipartParser parser(boundary);
  std::vector<PartEvent> events;
  Read result;
  cuts.push_back(body.size());
  std::size_t from = 0;
  for (const std::size_t cut : cuts) {
    const Result<void> fed = parser.feed(body.substr(from, cut - from), events);
    from = cut;
    if (!fed) {
      result.fault = fed.error().message;
      break;
    }
  }
  result.text = shown(events);
  result.complete = parser.complete();
  return result;
}

std::string part(const std::string& disposition, const std::string& content) {
  return "--b\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + content + "\r\n";
}

const std::string kForm = part("name=\"purpose\"", "batch") +
                          part("name=\"file\"; filename=\"a\"", "\r\n--\r\n-\r\n--a\r\r\n") +
                          part("name=empty", "") + "--b--\r\nwhat follows";

TEST(Multipart, AnyCut_GivesTheSame) {
  const std::string& form = kForm;
  const Read whole = read(form, {});
  EXPECT_EQ(whole.text, "purpose|-|batch.\nfile|a|\r\n--\r\n-\r\n--a\r\r\n.\nempty|-|.\n");
  EXPECT_TRUE(whole.complete);
  for (std::size_t cut = 0; cut <= form.size(); ++cut) {
    const Read split = read(form, {cut});
    EXPECT_EQ(split.text, whole.text) << cut;
    EXPECT_TRUE(split.complete) << cut;
  }
  std::vector<std::size_t> each;
  for (std::size_t cut = 1; cut < form.size(); ++cut) each.push_back(cut);
  EXPECT_EQ(read(form, each).text, whole.text);
}

// RFC 2046 forbids content to hold a line that begins with the boundary.
TEST(Multipart, LongerBoundaryInContent_IsAFault) {
  EXPECT_FALSE(read(part("name=x", "\r\n--bc"), {}).fault.empty());
}

TEST(Multipart, Preamble_IsPassedOver) {
  EXPECT_EQ(read("for old mail readers\r\n" + part("name=x", "y") + "--b--", {}).text, "x|-|y.\n");
}

TEST(Multipart, LongContent_IsNotKept) {
  MultipartParser parser("b");
  std::vector<PartEvent> events;
  ASSERT_TRUE(parser.feed("--b\r\ncontent-disposition: form-data; name=x\r\n\r\n", events));
  std::size_t seen = 0;
  const std::string piece(1000, '\r');
  for (int i = 0; i < 1000; ++i) {
    events.clear();
    ASSERT_TRUE(parser.feed(piece, events));
    for (const PartEvent& event : events) seen += event.content.size();
  }
  EXPECT_GE(seen, 999'900U);
}

TEST(Multipart, QuotesAndCase) {
  const Read odd = read(
      "--b\r\nX-More: y\r\nCONTENT-DISPOSITION:  Form-Data ; NAME=\"a;\\\"b\" ; "
      "filename=\"C:\\dir\\f.txt\"\r\n\r\nx\r\n--b--",
      {});
  EXPECT_EQ(odd.text, "a;\"b|C:\\dir\\f.txt|x.\n") << odd.fault;
}

TEST(Multipart, Faults_SayWhatIsWrong) {
  const auto fault = [](const std::string& body) { return read(body, {}).fault; };
  const auto has = [](const std::string& text, const char* part_of) {
    return text.find(part_of) != std::string::npos;
  };
  EXPECT_TRUE(has(fault("--b\r\n\r\nx\r\n--b--"), "no Content-Disposition"));
  EXPECT_TRUE(has(fault("--b\r\ncontent-disposition: form-data\r\n\r\n"), "no name"));
  EXPECT_TRUE(
      has(fault("--b\r\ncontent-disposition: attachment; name=x\r\n\r\n"), "not form-data"));
  EXPECT_TRUE(
      has(fault("--b\r\ncontent-disposition: form-data; name=\"x\r\n\r\n"), "cannot be read"));
  EXPECT_TRUE(has(fault("--b\r\n: x\r\n\r\n"), "without a name"));
  EXPECT_TRUE(has(fault("--bc\r\n"), "something else"));
  EXPECT_TRUE(has(fault(part("name=x\r\nContent-Transfer-Encoding: base64", "x")), "Transfer"));
  EXPECT_TRUE(has(fault("--b\r\nx: " + std::string(kPartHeadBytesMax, 'y')), "headers are over"));
  EXPECT_TRUE(has(fault("--b" + std::string(kPartHeadBytesMax + 1, ' ')), "does not end"));
  EXPECT_TRUE(has(fault(std::string(kPreambleBytesMax + 1, 'x')), "does not come"));
  std::string many;
  for (std::size_t i = 0; i <= kPartsMax; ++i) many += part("name=x", "");
  EXPECT_TRUE(has(fault(many), "more than"));
}

TEST(Multipart, WhatEndsEarly_IsNotComplete) {
  for (std::size_t length = 0; length < kForm.find("--\r\nwhat") + 2; ++length)
    EXPECT_FALSE(read(std::string_view(kForm).substr(0, length), {}).complete) << length;
}

TEST(Multipart, RandomBytes_NeverCrashOrKeepMuch) {
  std::mt19937 random(7);
  const std::string alphabet = "\r\n-b:;=\"\\ xContent-Disposition: form-data; name=";
  for (int round = 0; round < 2000; ++round) {
    std::string body = round % 2 == 0 ? "--b\r\n" : "";
    const std::size_t size = random() % 300;
    for (std::size_t i = 0; i < size; ++i) body += alphabet[random() % alphabet.size()];
    const Read whole = read(body, {});
    const std::size_t cut = body.empty() ? 0 : random() % body.size();
    const Read split = read(body, {cut});
    EXPECT_EQ(whole.complete, split.complete) << body;
    EXPECT_EQ(whole.fault.empty(), split.fault.empty()) << body;
  }
}

TEST(MultipartBoundary, IsReadAndChecked) {
  EXPECT_EQ(*multipart_boundary("multipart/form-data; boundary=abc"), "abc");
  EXPECT_EQ(*multipart_boundary("Multipart/Form-Data; charset=x; Boundary=\"a b:c\""), "a b:c");
  for (const std::string& type :
       {std::string("application/json"), std::string("multipart/form-data"),
        std::string("multipart/mixed; boundary=a"), std::string("multipart/form-data; boundary="),
        std::string("multipart/form-data; boundary=\"a\r\nb\""),
        "multipart/form-data; boundary=" + std::string(71, 'a')})
    EXPECT_FALSE(multipart_boundary(type)) << type;
}

}  // namespace
}  // namespace glowplug::gateway
