from isoflop.display.html import Html, join, tag


def test_text_and_attributes_are_escaped():
    assert (
        tag("p", "<b> & </b>", title='"x"')
        == '<p title="&quot;x&quot;">&lt;b&gt; &amp; &lt;/b&gt;</p>'
    )


def test_what_was_made_here_is_not_escaped_again():
    assert tag("p", tag("b", "a<b"), " c") == "<p><b>a&lt;b</b> c</p>"


def test_attributes_are_written_as_html_names_them():
    assert (
        tag("td", class_="x", data_value="", hidden=True, lang=None)
        == '<td class="x" data-value="" hidden></td>'
    )


def test_joining_escapes_only_plain_text():
    assert join("<", Html("<br>")) == "&lt;<br>"
